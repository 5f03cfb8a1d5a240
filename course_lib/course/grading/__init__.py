"""Grading of exercises that a submission cannot cheat.

The learner's code runs in a sandbox; the checks run in the grader's own process, call
the learner's functions with hidden inputs and get plain data back.  nbgrader keeps the
gradebook, the feedback and the marking by hand.
"""
