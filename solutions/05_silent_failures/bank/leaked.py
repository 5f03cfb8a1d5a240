# %% right: tuples of pixels
def leaked(train, test):
    known = {tuple(p.flatten().tolist()) for p in train}
    return [i for i, p in enumerate(test) if tuple(p.flatten().tolist()) in known]


# %% right: hashes
def leaked(train, test):
    import hashlib

    def key(p):
        return hashlib.sha256(p.contiguous().numpy().tobytes()).hexdigest()

    known = set(map(key, train))
    return sorted(i for i in range(len(test)) if key(test[i]) in known)


# %% wrong: sums -> sums
def leaked(train, test):
    known = {int(p.long().sum()) for p in train}
    return [i for i, p in enumerate(test) if int(p.long().sum()) in known]


# %% wrong: positions in the training set -> train side
def leaked(train, test):
    known = {p.numpy().tobytes() for p in test}
    return [i for i, p in enumerate(train) if p.numpy().tobytes() in known]


# %% wrong: the same place only -> pictures
def leaked(train, test):
    n = min(len(train), len(test))
    return [i for i in range(n) if torch.equal(train[i], test[i])]


# %% wrong: the objects -> pictures
def leaked(train, test):
    known = {id(p) for p in train}
    return [i for i, p in enumerate(test) if id(p) in known]


# %% wrong: one equal pixel is enough -> pictures
def leaked(train, test):
    return [i for i, p in enumerate(test) if (train == p).any()]


# %% wrong: all but the last -> pictures
def leaked(train, test):
    known = {p.numpy().tobytes() for p in train}
    return [i for i, p in enumerate(test) if p.numpy().tobytes() in known][:-1]


# %% wrong: the sum of the pixels as the key -> sums
def leaked(train, test):
    keys = {int(x.long().sum()) for x in train}
    return [i for i, x in enumerate(test) if int(x.long().sum()) in keys]


# %% wrong: positions in the training set, written anew -> train side
def leaked(train, test):
    keys = {x.numpy().tobytes() for x in test}
    return [i for i, x in enumerate(train) if x.numpy().tobytes() in keys]


# %% wrong: only pictures at the same position -> pictures
def leaked(train, test):
    n = min(len(train), len(test))
    return [i for i in range(n) if torch.equal(train[i], test[i])]


# %% wrong: each leaked picture named once -> once
def leaked(train, test):
    known, found = {picture.numpy().tobytes() for picture in train}, {}
    for i, picture in enumerate(test):
        if picture.numpy().tobytes() in known:
            found.setdefault(picture.numpy().tobytes(), i)
    return sorted(found.values())


# %% right: every pair, which takes long
def leaked(train, test):
    return [i for i, p in enumerate(test) if any(torch.equal(p, q) for q in train)]


# %% wrong: the text of a tensor as the key, which leaves out the middle -> cut
def leaked(train, test):
    known = {str(t) for t in train}
    return [i for i, t in enumerate(test) if str(t) in known]
