"""How each family of models is written to a model directory and read from one: config keys and tensor names, both ways."""
