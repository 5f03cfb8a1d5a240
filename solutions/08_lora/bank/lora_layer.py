# %% right: Kaiming and functional
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        for p in base.parameters():
            p.requires_grad = False
        self.base, self.s = base, alpha / r
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)

    def forward(self, x):
        F = nn.functional
        return self.base(x) + F.linear(F.linear(x, self.A), self.B) * self.s


# %% right: forms the product
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base
        base.weight.requires_grad_(False)
        base.bias.requires_grad_(False)
        self.alpha, self.r = alpha, r
        self.A = nn.Parameter(torch.randn(r, base.weight.shape[1]))
        self.B = nn.Parameter(base.weight.new_zeros(base.weight.shape[0], r))

    def forward(self, x):
        return self.base(x) + x @ (self.B @ self.A * self.alpha / self.r).T


# %% wrong: both factors zero -> stuck
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.s = base.requires_grad_(False), alpha / r
        self.A = nn.Parameter(torch.zeros(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.s * (x @ self.A.T) @ self.B.T


# %% wrong: both factors random -> start
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.s = base.requires_grad_(False), alpha / r
        self.A = nn.Parameter(torch.randn(r, base.in_features))
        self.B = nn.Parameter(torch.randn(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.s * (x @ self.A.T) @ self.B.T


# %% wrong: A zero in place of B -> factor zero
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.s = base.requires_grad_(False), alpha / r
        self.A = nn.Parameter(torch.zeros(r, base.in_features))
        self.B = nn.Parameter(torch.randn(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.s * (x @ self.A.T) @ self.B.T


# %% wrong: base left trainable -> frozen
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.s = base, alpha / r
        self.A = nn.Parameter(torch.randn(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.s * (x @ self.A.T) @ self.B.T


# %% wrong: bias left trainable -> frozen
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        base.weight.requires_grad = False
        self.base, self.s = base, alpha / r
        self.A = nn.Parameter(torch.randn(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.s * (x @ self.A.T) @ self.B.T


# %% wrong: factors are plain tensors -> raises
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.s = base.requires_grad_(False), alpha / r
        self.A = torch.randn(r, base.in_features)
        self.B = torch.zeros(base.out_features, r)

    def forward(self, x):
        return self.base(x) + self.s * (x @ self.A.T) @ self.B.T


# %% wrong: factors stored transposed -> raises
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.s = base.requires_grad_(False), alpha / r
        self.A = nn.Parameter(torch.randn(base.in_features, r))
        self.B = nn.Parameter(torch.zeros(r, base.out_features))

    def forward(self, x):
        return self.base(x) + self.s * (x @ self.A) @ self.B


# %% wrong: alpha not divided by r -> scale
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.s = base.requires_grad_(False), alpha
        self.A = nn.Parameter(torch.randn(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.s * (x @ self.A.T) @ self.B.T


# %% wrong: the bias still learns -> frozen
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.scale = base, alpha / r
        base.weight.requires_grad = False
        self.A = nn.Parameter(torch.randn(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scale * x @ self.A.T @ self.B.T


# %% wrong: A is zero, B drawn -> factor zero
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / r
        self.A = nn.Parameter(torch.zeros(r, base.in_features))
        self.B = nn.Parameter(torch.randn(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scale * x @ self.A.T @ self.B.T


# %% wrong: the scale is alpha -> scale
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha
        self.A = nn.Parameter(torch.randn(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scale * x @ self.A.T @ self.B.T


# %% wrong: the input is a matrix -> raises
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.scale = base, alpha / r
        base.requires_grad_(False)
        d, k = base.weight.shape
        self.A = nn.Parameter(torch.randn(r, k) / k**0.5)
        self.B = nn.Parameter(torch.zeros(d, r))

    def forward(self, x):
        return self.base(x) + self.scale * (self.B @ (self.A @ x.T)).T


# %% wrong: the rank is always two -> update
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.scale = base, alpha / 2
        base.requires_grad_(False)
        d, k = base.weight.shape
        self.A = nn.Parameter(torch.randn(r, k) / k**0.5)
        self.B = nn.Parameter(torch.zeros(d, r))

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.A.T) @ self.B.T


# %% wrong: the scale is rounded down -> scale
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.weight.requires_grad = False
        self.bias.requires_grad = False
        self.A = nn.Parameter(torch.randn(r, base.in_features) * 0.01)
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        self.s = alpha // r

    def forward(self, x):
        return x @ self.weight.T + self.bias + self.s * (x @ self.A.T) @ self.B.T
