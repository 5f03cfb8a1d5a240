# %% right: a loop over positions
def cached_features(model, X, batch):
    was = model.training
    model.train(False)
    rows = []
    for i in range(0, len(X), batch):
        rows.append(model(X[i : i + batch]).detach())
    model.train(was)
    return torch.cat(rows)


# %% right: inference mode and a loader
def cached_features(model, X, batch):
    was = model.training
    model.eval()
    with torch.inference_mode():
        loader = torch.utils.data.DataLoader(X, batch_size=batch)
        Z = torch.cat([model(x) for x in loader])
    model.train(was)
    return Z


# %% wrong: train mode -> dropout
def cached_features(model, X, batch):
    with torch.no_grad():
        return torch.cat([model(part) for part in X.split(batch)])


# %% wrong: last batch dropped -> shape
def cached_features(model, X, batch):
    was = model.training
    model.eval()
    n = len(X) // batch * batch
    with torch.no_grad():
        Z = torch.cat([model(part) for part in X[:n].split(batch)])
    model.train(was)
    return Z


# %% wrong: gradient kept -> gradient
def cached_features(model, X, batch):
    was = model.training
    model.eval()
    Z = torch.cat([model(part) for part in X.split(batch)])
    model.train(was)
    return Z


# %% wrong: left in eval mode -> mode
def cached_features(model, X, batch):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in X.split(batch)])


# %% wrong: batches in reverse -> order
def cached_features(model, X, batch):
    was = model.training
    model.eval()
    with torch.no_grad():
        Z = torch.cat([model(part) for part in X.split(batch)][::-1])
    model.train(was)
    return Z


# %% wrong: a list of batches -> shape
def cached_features(model, X, batch):
    was = model.training
    model.eval()
    with torch.no_grad():
        Z = [model(part) for part in X.split(batch)]
    model.train(was)
    return Z[0]


# %% wrong: train mode whatever it was before -> mode
def cached_features(model, X, batch):
    model.eval()
    with torch.no_grad():
        Z = torch.cat([model(part) for part in X.split(batch)])
    model.train()
    return Z


# %% wrong: a shuffled loader -> order
def cached_features(model, X, batch):
    was = model.training
    model.eval()
    loader = torch.utils.data.DataLoader(X, batch_size=batch, shuffle=True)
    with torch.no_grad():
        Z = torch.cat([model(x) for x in loader])
    model.train(was)
    return Z


# %% wrong: all rows at once -> shape
def cached_features(model, X, batch):
    was = model.training
    model.eval()
    with torch.no_grad():
        Z = model(X)[:batch]
    model.train(was)
    return Z


# %% wrong: the batch is all of X -> batch
def cached_features(model, X, batch):
    mode = model.training
    model.eval()
    with torch.no_grad():
        Z = model(X)
    model.train(mode)
    return Z


# %% wrong: batch is the number of parts -> batch
def cached_features(model, X, batch):
    mode = model.training
    model.eval()
    with torch.no_grad():
        Z = torch.cat([model(part) for part in X.chunk(batch)])
    model.train(mode)
    return Z


# %% wrong: row by row -> batch
def cached_features(model, X, batch):
    mode = model.training
    model.eval()
    with torch.no_grad():
        Z = torch.cat([model(x[None]) for x in X])
    model.train(mode)
    return Z
