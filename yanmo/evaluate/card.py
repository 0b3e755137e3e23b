def write_card(directory, folder): pass
