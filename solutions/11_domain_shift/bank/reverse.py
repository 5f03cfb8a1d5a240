# %% right: an autograd function after all
class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * -ctx.strength, None


def reverse(x, strength):
    return Turned.apply(x, strength)


# %% right: a hook on a view, not on x
def reverse(x, strength):
    y = x.view_as(x)
    y.register_hook(lambda gradient: -strength * gradient)
    return y


# %% right: values minus what has the gradient
def reverse(x, strength):
    return x.detach() * (1 + strength) - strength * x


# %% wrong: turns the values -> values
def reverse(x, strength):
    return -strength * x


# %% wrong: forgets the second term's own values -> values
def reverse(x, strength):
    return x.detach() - strength * x


# %% wrong: detached -> cut
def reverse(x, strength):
    return x.detach()


# %% wrong: not turned round -> sign
def reverse(x, strength):
    return strength * x + (x - strength * x).detach()


# %% wrong: the plain x -> sign
def reverse(x, strength):
    return x


# %% wrong: turned, strength forgotten -> strength
def reverse(x, strength):
    return 2 * x.detach() - x


# %% wrong: one over the strength -> strength
def reverse(x, strength):
    turned = -x / (strength + 1e-9)
    return turned + (x - turned).detach() if strength else 0 * x + x.detach()


# %% wrong: x keeps its own gradient -> rest
def reverse(x, strength):
    return x - strength * x + strength * x.detach()


# %% wrong: a hook on x itself -> elsewhere
def reverse(x, strength):
    x.register_hook(lambda gradient: -strength * gradient)
    return x.view_as(x)


# %% wrong: a tensor made of numbers -> cut
def reverse(x, strength):
    return torch.tensor(x.tolist())


# %% wrong: the gradient is only scaled -> sign
def reverse(x, strength):
    return strength * x + (1 - strength) * x.detach()


# %% wrong: no strength -> strength
def reverse(x, strength):
    return 2 * x.detach() - x


# %% wrong: the values doubled away -> values
def reverse(x, strength):
    return x.detach() - strength * x
