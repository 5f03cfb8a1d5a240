"""Lesson 15: one seed's network, whose states are trained, merged and tested.

What learns is the upper part of a network on stored output of the lower part.
"""

import copy

import numpy as np
from sklearn.metrics import roc_auc_score
from torch.optim.swa_utils import update_bn

from course_lib import training
from course_lib.lessons.results import interval, updates


class Bench:
    """A network, what it learns from, what chooses, and the places where it is tested.

    upper: gives logits, `head` names its last layer, `read` gives what that reads.
    data: train, val, each (inputs, labels), and places {name: (inputs, labels)}.
    """

    def __init__(self, upper, head, read, data, *, steps, seed, **options):
        self.upper, self.head, self.read = upper, head, read
        self.train, self.val, self.places = data
        self.steps, self.seed = steps, seed
        self.fraction = options.pop("fraction", 1.0)
        self.options, self.known = options, {}
        self.fresh = self.state()
        self.probe = self.probed()

    def state(self):
        """A copy of the weights as they are."""
        return copy.deepcopy(self.upper.state_dict())

    def probed(self):
        """The state with a linear head fitted on frozen features, as `solar.start`."""
        X, V = (self.read(inputs) for inputs, _ in (self.train, self.val))
        head, _ = training.fit_head(
            X, self.train[1].numpy(), (V, self.val[1].numpy()),
            head=training.Head(standardise=False),
            steps=updates(200, self.fraction), seed=self.seed,
        )  # fmt: skip
        self.head.load_state_dict(head.state_dict())
        return self.state()

    def tuned(self, state, lr, order=0, smoothing=0.0):
        """The state after training from another one; order: another one of batches."""
        self.upper.load_state_dict(state)
        recipe = training.Recipe(
            eval_every=interval(self.steps, 4, self.fraction),
            objective=training.Objective(label_smoothing=smoothing),
            **self.options,
        )
        training.fit(
            self.upper,
            self.train,
            self.val,
            steps=updates(self.steps, self.fraction),
            lr=lr,
            seed=self.seed + 100 * order,
            recipe=recipe,
        )
        return self.state()

    def answers(self, state, data):
        """(loss in nats, probabilities (N, 2)) of a state, computed once."""
        key = id(state), id(data)
        if key not in self.known:
            self.upper.load_state_dict(state)
            found = training.evaluate(self.upper, data)
            self.known[key] = found["loss"], found["probabilities"], state
        return self.known[key][:2]

    def loss(self, state):
        """On the validation cells, in nats."""
        return self.answers(state, self.val)[0]

    def best(self, states):
        """Place of the lowest validation loss."""
        return int(np.argmin([self.loss(state) for state in states]))

    def refreshed(self, state):
        """The state with BatchNorm's statistics estimated anew on training inputs."""
        self.upper.load_state_dict(state)
        update_bn([batch.float() for batch in self.train[0].split(64)], self.upper)
        return self.state()

    def tested(self, name, states):
        """{number: value} in each place, of the mean of the states' answers."""
        numbers = {}
        for where, data in self.places.items():
            found = [self.answers(state, data) for state in states]
            P, y = np.mean([P for _, P in found], axis=0), data[1].numpy()
            numbers[f"{name} {where}"] = training.balanced_accuracy(P, y)
            numbers[f"{name} {where} auroc"] = roc_auc_score(y, P[:, 1])
            numbers[f"{name} {where} loss"] = float(-np.log(P[range(len(y)), y]).mean())
        return numbers
