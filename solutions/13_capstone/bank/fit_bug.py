# %% right: clones, for and else
def fit(model, train_epoch, validate, patience, max_epochs):
    history = []
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        history.append(loss if loss == loss else float("inf"))
        best = history.index(min(history))
        if best == epoch and history[best] < float("inf"):
            kept = {name: x.clone() for name, x in model.state_dict().items()}
        if history[best] == float("inf"):
            if epoch + 1 == patience:
                break
        elif epoch - best == patience:
            break
    model.load_state_dict(kept)
    return best


# %% right: a while loop and a copy of the model
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best, best_epoch, copy_of, epoch, left = None, None, None, 0, patience
    while epoch < max_epochs and left > 0:
        train_epoch(model)
        loss = float(validate(model))
        lower = not np.isnan(loss) and (best is None or loss < best)
        if lower:
            best, best_epoch, left = loss, epoch, patience
            copy_of = copy.deepcopy(model)
        else:
            left -= 1
        epoch += 1
    model.load_state_dict(copy_of.state_dict())
    return best_epoch


# %% wrong: as it was -> alias
def fit(model, train_epoch, validate, patience, max_epochs):
    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch, kept = loss, epoch, model.state_dict()
        else:
            waited += 1
        if waited > patience:
            break
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: a shallow copy -> alias
def fit(model, train_epoch, validate, patience, max_epochs):
    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch, waited = loss, epoch, 0
            kept = dict(model.state_dict())
        else:
            waited += 1
        if waited >= patience:
            break
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: does not start counting again -> reset
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch, kept = loss, epoch, copy.deepcopy(model.state_dict())
        else:
            waited += 1
        if waited >= patience:
            break
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: one epoch too many -> patience
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch, waited = loss, epoch, 0
            kept = copy.deepcopy(model.state_dict())
        else:
            waited += 1
        if waited > patience:
            break
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: parameters without buffers -> buffers
def fit(model, train_epoch, validate, patience, max_epochs):
    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch, waited = loss, epoch, 0
            kept = [p.detach().clone() for p in model.parameters()]
        else:
            waited += 1
        if waited >= patience:
            break
    with torch.no_grad():
        for p, value in zip(model.parameters(), kept):
            p.copy_(value)
    return best_epoch


# %% wrong: an equal loss counts as lower -> tie
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss <= best:
            best, best_epoch, waited = loss, epoch, 0
            kept = copy.deepcopy(model.state_dict())
        else:
            waited += 1
        if waited >= patience:
            break
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: nan counts as lower -> nan
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if not loss >= best:
            best, best_epoch, waited = loss, epoch, 0
            kept = copy.deepcopy(model.state_dict())
        else:
            waited += 1
        if waited >= patience:
            break
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: the loss instead of the epoch -> number
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best, waited = float("inf"), 0
    for _ in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, waited = loss, 0
            kept = copy.deepcopy(model.state_dict())
        else:
            waited += 1
        if waited >= patience:
            break
    model.load_state_dict(kept)
    return best


# %% wrong: never stops -> number
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best = float("inf")
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch = loss, epoch + 1
            kept = copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: trains all epochs -> trained
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best = float("inf")
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch = loss, epoch
            kept = copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: a copy is loaded, the model stays -> alias
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch, waited = loss, epoch, 0
            kept = copy.deepcopy(model)
        else:
            waited += 1
        if waited >= patience:
            break
    model = kept
    return best_epoch


# %% wrong: waited is never set back -> reset
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch = loss, epoch
            kept = copy.deepcopy(model.state_dict())
        else:
            waited += 1
        if waited >= patience:
            break
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: one epoch of patience too many -> patience
def fit(model, train_epoch, validate, patience, max_epochs):
    import copy

    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch, waited = loss, epoch, 0
            kept = copy.deepcopy(model.state_dict())
        else:
            waited += 1
        if waited > patience:
            break
    model.load_state_dict(kept)
    return best_epoch


# %% wrong: the parameters alone are put back -> buffers
def fit(model, train_epoch, validate, patience, max_epochs):
    best, waited = float("inf"), 0
    for epoch in range(max_epochs):
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch, waited = loss, epoch, 0
            kept = [p.detach().clone() for p in model.parameters()]
        else:
            waited += 1
        if waited >= patience:
            break
    with torch.no_grad():
        for p, q in zip(model.parameters(), kept):
            p.copy_(q)
    return best_epoch


# %% wrong: it never ends by max_epochs -> raises
def fit(model, train_epoch, validate, patience, max_epochs):
    best, waited, epoch = float("inf"), 0, -1
    while waited < patience:
        epoch += 1
        train_epoch(model)
        loss = validate(model)
        if loss < best:
            best, best_epoch, waited = loss, epoch, 0
            kept = {name: x.clone() for name, x in model.state_dict().items()}
        else:
            waited += 1
    model.load_state_dict(kept)
    return best_epoch
