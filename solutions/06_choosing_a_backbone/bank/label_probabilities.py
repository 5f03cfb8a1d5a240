# %% right: one-hot labels
def label_probabilities(theta, y, new):
    joint = np.eye(y.max() + 1)[y].T @ theta / len(y)
    return new @ (joint / joint.sum(axis=0, keepdims=True)).T


# %% right: loops
def label_probabilities(theta, y, new):
    C = int(y.max()) + 1
    p = np.zeros((len(new), C))
    for s in range(theta.shape[1]):
        column = theta[:, s]
        for c in range(C):
            p[:, c] += column[y == c].sum() / column.sum() * new[:, s]
    return p


# %% wrong: P(s | y) -> axis
def label_probabilities(theta, y, new):
    means = np.stack([theta[y == c].mean(0) for c in range(y.max() + 1)])
    return new @ means.T


# %% wrong: P(s | y), rows made to sum to 1 -> axis
def label_probabilities(theta, y, new):
    means = np.stack([theta[y == c].mean(0) for c in range(y.max() + 1)])
    p = new @ means.T
    return p / p.sum(1, keepdims=True)


# %% wrong: the joint probabilities -> joint
def label_probabilities(theta, y, new):
    joint = np.eye(y.max() + 1)[y].T @ theta / len(y)
    return new @ joint.T


# %% wrong: the joint, rows made to sum to 1 -> joint
def label_probabilities(theta, y, new):
    joint = np.eye(y.max() + 1)[y].T @ theta
    p = new @ joint.T
    return p / p.sum(1, keepdims=True)


# %% wrong: the most probable source class of a new picture -> hard
def label_probabilities(theta, y, new):
    joint = np.eye(y.max() + 1)[y].T @ theta
    return (joint / joint.sum(0)).T[new.argmax(1)]


# %% wrong: counts of the most probable source classes -> hard
def label_probabilities(theta, y, new):
    joint = np.eye(y.max() + 1)[y].T @ np.eye(theta.shape[1])[theta.argmax(1)]
    return new @ (joint / np.maximum(joint.sum(0), 1e-300)).T


# %% wrong: logarithms -> log
def label_probabilities(theta, y, new):
    joint = np.eye(y.max() + 1)[y].T @ theta
    return np.log(new @ (joint / joint.sum(0)).T)


# %% wrong: the labels -> shape
def label_probabilities(theta, y, new):
    joint = np.eye(y.max() + 1)[y].T @ theta
    return (new @ (joint / joint.sum(0)).T).argmax(1)


# %% wrong: columns for the pictures -> shape
def label_probabilities(theta, y, new):
    joint = np.eye(y.max() + 1)[y].T @ theta
    return joint / joint.sum(0) @ new.T


# %% wrong: how frequent each label is -> probabilities
def label_probabilities(theta, y, new):
    prior = np.bincount(y) / len(y)
    return np.tile(prior, (len(new), 1))


# %% wrong: each picture counted for its most probable source class -> hard
def label_probabilities(theta, y, new):
    joint = np.zeros((y.max() + 1, theta.shape[1]))
    for s, label in zip(theta.argmax(1), y):
        joint[label, s] += 1
    given = joint / np.maximum(joint.sum(0), 1e-12)
    return new @ given.T


# %% wrong: divided by the labels in place of the source classes -> axis
def label_probabilities(theta, y, new):
    joint = np.stack([theta[y == c].sum(0) for c in range(y.max() + 1)]) / len(y)
    given = joint / joint.sum(1, keepdims=True)
    p = new @ given.T
    return p / p.sum(1, keepdims=True)


# %% wrong: the mean of each label's pictures -> probabilities
def label_probabilities(theta, y, new):
    joint = np.stack([theta[y == c].mean(0) for c in range(y.max() + 1)])
    given = joint / joint.sum(0)
    return new @ given.T


# %% wrong: labels are 0 and 1 -> shape
def label_probabilities(theta, y, new):
    counted = np.stack([theta[y == c].sum(0) for c in (0, 1)])
    return new @ (counted / counted.sum(0)).T
