"""Fine-tuning, head by head: a file for each head that a task can have, found by the registry (kind `tuning`).

    objective                                 what trains it, where the recipe names nothing
    build(backbone, task, rng, objective)     the module to train: the backbone with the head on it, or the backbone itself
    rows(task, examples, tokenizer, length)   the rows, and how many tokens each had before any of them were cut off
    validate(model, objective, task, …)       what the training loop asks of held-out examples: the task's own metric
    fit(folder, part, task)                   a baseline, which is fitted, not trained
    names(task)                               the labels that are saved with the model
    extra(task, model, …)                     what else config.json says (`yanmo`)

What a task gives for it, beside `encode` (`core/data.py` says what the rows are):

    tag     `names()`: the tags in the order of the scores. `decode(outputs, example)`: [(start, end, probabilities (L,)), …] for
            the pieces of the text that were asked about, in their order, makes a Prediction with `spans`; with `chain`, the
            potentials of a conditional random field, scores stand for the probabilities
    span    `decode(outputs, example)`: [(start, end, score), …], the best first, and the score of no answer under (0, 0,
            score), makes a Prediction with `answer`
    text    `prompt(example)`: a text or messages; `answer(example)`: a text
"""
