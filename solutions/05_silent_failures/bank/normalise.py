# %% right: movedim
def normalise(images, mean, std):
    x = (images.float() / 255 - mean) / std
    return x.movedim(-1, 1)


# %% right: einops by hand
def normalise(images, mean, std):
    planes = [(images[..., c] / 255.0 - mean[c]) / std[c] for c in range(3)]
    return torch.stack(planes, dim=1)


# %% wrong: as it was -> view
def normalise(images, mean, std):
    x = images.float()
    x = x.view(len(x), 3, *x.shape[1:3])
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


# %% wrong: scaled, but view -> view
def normalise(images, mean, std):
    x = images.float() / 255
    x = x.view(len(x), 3, *x.shape[1:3])
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


# %% wrong: not scaled -> scale
def normalise(images, mean, std):
    x = images.permute(0, 3, 1, 2).float()
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


# %% wrong: transposed pictures -> shape
def normalise(images, mean, std):
    x = images.transpose(1, 3).float() / 255
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


# %% wrong: blue first -> channels
def normalise(images, mean, std):
    x = images.flip(-1).permute(0, 3, 1, 2).float() / 255
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


# %% wrong: multiplies by std -> std
def normalise(images, mean, std):
    x = images.permute(0, 3, 1, 2).float() / 255
    return (x - mean.view(3, 1, 1)) * std.view(3, 1, 1)


# %% wrong: only scaled -> values
def normalise(images, mean, std):
    return images.permute(0, 3, 1, 2).float() / 255


# %% wrong: not scaled to one -> scale
def normalise(images, mean, std):
    x = images.permute(0, 3, 1, 2).float()
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


# %% wrong: height and width swapped -> shape
def normalise(images, mean, std):
    x = images.float().transpose(1, 3) / 255
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


# %% wrong: half precision -> values
def normalise(images, mean, std):
    x = images.permute(0, 3, 1, 2).half() / 256
    return ((x - mean.view(3, 1, 1)) / std.view(3, 1, 1)).float()


# %% wrong: divided by the largest value there is -> values
def normalise(images, mean, std):
    x = images.permute(0, 3, 1, 2).float()
    x = x / x.max()
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)
