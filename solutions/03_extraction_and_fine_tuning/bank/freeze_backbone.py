# %% right: module by module
def freeze_backbone(model, head):
    for name, module in model.named_modules():
        inside = name == head or name.startswith(f"{head}.")
        module.training = inside
        for p in module.parameters(recurse=False):
            p.requires_grad_(inside)


# %% right: all off, then the head on
def freeze_backbone(model, head):
    model.requires_grad_(False).eval()
    getattr(model, head).requires_grad_(True).train()


# %% wrong: requires_grad alone -> drift
def freeze_backbone(model, head):
    for name, p in model.named_parameters():
        p.requires_grad = name.split(".")[0] == head


# %% wrong: prefix without a dot -> prefix
def freeze_backbone(model, head):
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith(head)
    model.eval()


# %% wrong: all in eval mode -> head mode
def freeze_backbone(model, head):
    model.requires_grad_(False).eval()
    getattr(model, head).requires_grad_(True)


# %% wrong: the head frozen too -> learns
def freeze_backbone(model, head):
    model.requires_grad_(False).eval()


# %% wrong: the other way round -> learns
def freeze_backbone(model, head):
    for name, p in model.named_parameters():
        p.requires_grad = name.split(".")[0] != head


# %% wrong: weights of the head only -> learns
def freeze_backbone(model, head):
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith(head + ".") and "weight" in name
    model.eval()


# %% wrong: only BatchNorm2d layers are put into eval mode -> drift
def freeze_backbone(model, head):
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith(head + ".")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


# %% wrong: the direct children that are no head -> prefix
def freeze_backbone(model, head):
    for name, child in model.named_children():
        if not name.startswith(head):
            child.requires_grad_(False)
            child.eval()


# %% wrong: a frozen copy is returned -> learns
def freeze_backbone(model, head):
    import copy

    model = copy.deepcopy(model)
    model.requires_grad_(False).eval()
    model.get_submodule(head).requires_grad_(True).train()
    return model


# %% wrong: the name fc typed in -> raises
def freeze_backbone(model, head):
    model.requires_grad_(False).eval()
    model.fc.requires_grad_(True).train()


# %% wrong: the last module is taken for the head -> learns
def freeze_backbone(model, head):
    model.requires_grad_(False).eval()
    list(model.children())[-1].requires_grad_(True).train()


# %% wrong: only BatchNorm1d is stopped -> drift
def freeze_backbone(model, head):
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(head + ".")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
