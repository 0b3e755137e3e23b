"""What costs nothing: the figures that a model has to beat before it has learned anything.

Printed beside every score, because 60% is a triumph with forty labels and a failure with one label in two thirds of the
examples. Each head says what its floors are (`heads/`); their names are no model's.
"""

FLOORS = ("chance", "majority", "copy", "lead-1", "lead-3", "first-sentence", "longest-common", "no-answer",
          "no-entity", "names-by-heart", "commonest")  # fmt: skip
