# %% right: measured first
def forgetting(model, train, accuracy):
    from copy import deepcopy

    before = accuracy(model)
    other = deepcopy(model)
    train(other)
    return before - accuracy(other)


# %% right: put back from a state
def forgetting(model, train, accuracy):
    state = {k: v.clone() for k, v in model.state_dict().items()}
    before = accuracy(model)
    train(model)
    lost = before - accuracy(model)
    model.load_state_dict(state)
    return lost


# %% wrong: as it was -> zero
def forgetting(model, train, accuracy):
    before = model
    train(model)
    return accuracy(before) - accuracy(model)


# %% wrong: the sign turned -> sign
def forgetting(model, train, accuracy):
    import copy

    tuned = copy.deepcopy(model)
    train(tuned)
    return accuracy(tuned) - accuracy(model)


# %% wrong: the given model is trained -> changed
def forgetting(model, train, accuracy):
    before = accuracy(model)
    train(model)
    return before - accuracy(model)


# %% wrong: a shallow copy -> zero
def forgetting(model, train, accuracy):
    import copy

    tuned = copy.copy(model)
    train(tuned)
    return accuracy(model) - accuracy(tuned)


# %% wrong: the state without clones -> changed
def forgetting(model, train, accuracy):
    state = model.state_dict()
    before = accuracy(model)
    train(model)
    lost = before - accuracy(model)
    model.load_state_dict(state)
    return lost


# %% wrong: a ratio -> amount
def forgetting(model, train, accuracy):
    import copy

    tuned = copy.deepcopy(model)
    train(tuned)
    return accuracy(tuned) / accuracy(model)


# %% wrong: looks for the answer in what train knows -> amount
def forgetting(model, train, accuracy):
    return -float(train.__globals__["step"].sum())


# %% wrong: the absolute difference -> sign
def forgetting(model, train, accuracy):
    import copy

    tuned = copy.deepcopy(model)
    train(tuned)
    return abs(accuracy(model) - accuracy(tuned))


# %% wrong: the share that was lost -> amount
def forgetting(model, train, accuracy):
    import copy

    tuned = copy.deepcopy(model)
    before = accuracy(model)
    train(tuned)
    return (before - accuracy(tuned)) / before


# %% wrong: never below zero -> rise
def forgetting(model, train, accuracy):
    import copy

    tuned = copy.deepcopy(model)
    train(tuned)
    return max(0.0, accuracy(model) - accuracy(tuned))


# %% wrong: parameters are put back, buffers are not -> changed
def forgetting(model, train, accuracy):
    before = accuracy(model)
    kept = [p.detach().clone() for p in model.parameters()]
    train(model)
    after = accuracy(model)
    with torch.no_grad():
        for p, old in zip(model.parameters(), kept):
            p.copy_(old)
    return before - after
