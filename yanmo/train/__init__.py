"""Training: the loop and what it needs.

Here is what happens at a step and between steps: `loop` is all of it, in the order it runs. What stands around it has rooms of
its own; each imports only those below it:

    soundness/     what a training is examined for before its first step
    plan/          what is settled before it: sizes, length, rate, memory, cost
    parallel/      several processes as one
    records/       figures, where they go and what they say
    optimizers/    how parameters are moved
    machine/       formats, speed, memory
"""
