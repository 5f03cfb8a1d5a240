# %% right: two times
def speed_up(t_backbone, t_head, epochs):
    naive = epochs * t_backbone + epochs * t_head
    cached = t_backbone + epochs * t_head
    return naive / cached


# %% right: divided through
def speed_up(t_backbone, t_head, epochs):
    return (1 + t_backbone / t_head) / (1 + t_backbone / (epochs * t_head))


# %% wrong: upside down -> inverse
def speed_up(t_backbone, t_head, epochs):
    return (t_backbone + epochs * t_head) / (epochs * (t_backbone + t_head))


# %% wrong: the limit -> limit
def speed_up(t_backbone, t_head, epochs):
    return 1 + t_backbone / t_head


# %% wrong: the head is paid once too -> formula
def speed_up(t_backbone, t_head, epochs):
    return epochs * (t_backbone + t_head) / (t_backbone + t_head)


# %% wrong: the backbone costs nothing when cached -> formula
def speed_up(t_backbone, t_head, epochs):
    return epochs * (t_backbone + t_head) / (epochs * t_head) - t_backbone


# %% wrong: seconds saved -> formula
def speed_up(t_backbone, t_head, epochs):
    return (epochs - 1) * t_backbone


# %% wrong: the head is part of the backbone's pass -> formula
def speed_up(t_backbone, t_head, epochs):
    return epochs * t_backbone / (t_backbone + epochs * t_head)


# %% wrong: in whole times -> formula
def speed_up(t_backbone, t_head, epochs):
    return epochs * (t_backbone + t_head) // (t_backbone + epochs * t_head)


# %% wrong: the features cost one epoch more -> formula
def speed_up(t_backbone, t_head, epochs):
    return epochs * (t_backbone + t_head) / (t_backbone + (epochs - 1) * t_head)
