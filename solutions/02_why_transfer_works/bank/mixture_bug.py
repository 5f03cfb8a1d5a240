# %% right: state dict, then a reset and one pass
def mixture(a, b, alpha, X):
    A, B = a.state_dict(), b.state_dict()
    model = copy.deepcopy(a)
    model.load_state_dict({k: (1 - alpha) * A[k] + alpha * B[k] for k in A})
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(X)
    return model.eval()


# %% right: statistics taken by hooks
def mixture(a, b, alpha, X):
    model = copy.deepcopy(b).train()
    for p, p_a in zip(model.parameters(), a.parameters()):
        p.data = (1 - alpha) * p_a.data + alpha * p.data
    norms = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    seen = {}

    def keep(module, inputs, output):
        x = inputs[0].detach().transpose(0, 1).flatten(1)
        seen[module] = x.mean(1), x.var(1)

    hooks = [norm.register_forward_hook(keep) for norm in norms]
    with torch.no_grad():
        model(X)
    for hook, norm in zip(hooks, norms):
        hook.remove()
        norm.running_mean.copy_(seen[norm][0])
        norm.running_var.copy_(seen[norm][1])
    return model.eval()


# %% wrong: as it was -> changed
def mixture(a, b, alpha, X):
    A, B = a.state_dict(), b.state_dict()
    a.load_state_dict({k: (1 - alpha) * A[k] + alpha * B[k] for k in A})
    return a.eval()


# %% wrong: a copy that shares its tensors -> changed
def mixture(a, b, alpha, X):
    model = copy.copy(a)
    A, B = a.state_dict(), b.state_dict()
    model.load_state_dict({k: (1 - alpha) * A[k] + alpha * B[k] for k in A})
    return model.eval()


# %% wrong: stored statistics mixed as well -> statistics
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a)
    A, B = a.state_dict(), b.state_dict()
    model.load_state_dict({k: (1 - alpha) * A[k] + alpha * B[k] for k in A})
    return model.eval()


# %% wrong: the statistics of a -> statistics
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a)
    with torch.no_grad():
        for p, p_b in zip(model.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * p_b)
    return model.eval()


# %% wrong: one pass with the usual momentum -> momentum
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a).train()
    with torch.no_grad():
        for p, p_b in zip(model.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * p_b)
        model(X)
    return model.eval()


# %% wrong: reset, but the usual momentum -> momentum
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a).train()
    with torch.no_grad():
        for p, p_b in zip(model.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * p_b)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()
        model(X)
    return model.eval()


# %% wrong: X passes before the weights are mixed -> too early
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model(X)
        for p, p_b in zip(model.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * p_b)
    return model.eval()


# %% wrong: the ends swapped -> ends
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a).train()
    with torch.no_grad():
        for p, p_b in zip(model.parameters(), b.parameters()):
            p.copy_(alpha * p + (1 - alpha) * p_b)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        model(X)
    return model.eval()


# %% wrong: left in train mode, as in the lesson -> mode
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a).train()
    with torch.no_grad():
        for p, p_b in zip(model.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * p_b)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        model(X)
    return model


# %% wrong: a is put into train mode -> modes
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a.train())
    with torch.no_grad():
        for p, p_b in zip(model.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * p_b)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        model(X)
    return model.eval()


# %% wrong: only the matrices are mixed -> parameters
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a).train()
    with torch.no_grad():
        for p, p_b in zip(model.parameters(), b.parameters()):
            if p.ndim > 1:
                p.copy_((1 - alpha) * p + alpha * p_b)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        model(X)
    return model.eval()


# %% wrong: statistics from b passed, the mixture only in the parameters -> statistics
def mixture(a, b, alpha, X):
    m = copy.deepcopy(a)
    with torch.no_grad():
        for p, q in zip(m.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * q)
    return m.eval()


# %% wrong: alpha turned round -> ends
def mixture(a, b, alpha, X):
    m = copy.deepcopy(a)
    with torch.no_grad():
        for p, q in zip(m.parameters(), b.parameters()):
            p.copy_(alpha * p + (1 - alpha) * q)
        for layer in m.modules():
            if hasattr(layer, "running_mean"):
                layer.reset_running_stats()
                layer.momentum = None
        m.train()(X)
    return m.eval()


# %% wrong: the momentum is as it was, one pass -> statistics
def mixture(a, b, alpha, X):
    m = copy.deepcopy(a)
    with torch.no_grad():
        for p, q in zip(m.parameters(), b.parameters()):
            p.lerp_(q, alpha)
        for layer in m.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.reset_running_stats()
        m.train()
        for _ in range(20):
            m(X)
    return m.eval()


# %% wrong: the cumulative average goes on from what was counted -> statistics
def mixture(a, b, alpha, X):
    new = copy.deepcopy(a)
    with torch.no_grad():
        for p, q in zip(new.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * q)
    for module in new.modules():
        if hasattr(module, "momentum"):
            module.momentum = None
    new.train()
    with torch.no_grad():
        new(X)
    return new.eval()


# %% wrong: only BatchNorm1d is recounted -> statistics
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a).train()
    with torch.no_grad():
        for p, q in zip(model.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * q)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = 1.0
        model(X)
    return model.eval()


# %% wrong: the variance stays a's -> statistics
def mixture(a, b, alpha, X):
    model = copy.deepcopy(a).train()
    with torch.no_grad():
        for p, q in zip(model.parameters(), b.parameters()):
            p.copy_((1 - alpha) * p + alpha * q)
        norms = [m for m in model.modules() if hasattr(m, "running_var")]
        kept = [m.running_var.clone() for m in norms]
        for module in norms:
            module.momentum = 1.0
        model(X)
        for module, variance in zip(norms, kept):
            module.running_var.copy_(variance)
    return model.eval()
