# %% right: functional, with zeros copied in
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        with torch.no_grad():
            for p in self.up.parameters():
                p.zero_()

    def forward(self, h):
        F = nn.functional
        low = F.gelu(F.linear(h, self.down.weight, self.down.bias))
        return F.linear(low, self.up.weight, self.up.bias) + h


# %% right: small random D, a module for the gelu
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down = nn.Linear(d, width)
        nn.init.normal_(self.down.weight, std=0.02)
        self.act = nn.GELU()
        self.up = nn.Linear(width, d)
        self.up.weight.data.fill_(0.0)
        self.up.bias.data.fill_(0.0)

    def forward(self, h):
        y = self.up(self.act(self.down(h)))
        return y + h


# %% wrong: h is not added -> residual
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return self.up(nn.functional.gelu(self.down(h)))


# %% wrong: starts as torch does -> start
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)

    def forward(self, h):
        return h + self.up(nn.functional.gelu(self.down(h)))


# %% wrong: the bias c forgotten -> start
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)

    def forward(self, h):
        return h + self.up(nn.functional.gelu(self.down(h)))


# %% wrong: everything zero -> stuck
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        for p in self.parameters():
            nn.init.zeros_(p)

    def forward(self, h):
        return h + self.up(nn.functional.gelu(self.down(h)))


# %% wrong: D zero in place of U -> which zero
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        for p in (*self.down.parameters(), self.up.bias):
            nn.init.zeros_(p)

    def forward(self, h):
        return h + self.up(nn.functional.gelu(self.down(h)))


# %% wrong: no gelu -> gelu
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return h + self.up(self.down(h))


# %% wrong: relu -> gelu
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return h + self.up(self.down(h).relu())


# %% wrong: gelu behind -> gelu
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return h + nn.functional.gelu(self.up(self.down(h)))


# %% wrong: no biases -> parameters
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down = nn.Linear(d, width, bias=False)
        self.up = nn.Linear(width, d, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, h):
        return h + self.up(nn.functional.gelu(self.down(h)))


# %% wrong: other names -> parameters
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.D, self.U = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.U.weight)
        nn.init.zeros_(self.U.bias)

    def forward(self, h):
        return h + self.U(nn.functional.gelu(self.D(h)))


# %% wrong: added twice -> start
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        h = h + self.up(nn.functional.gelu(self.down(h)))
        return h + h


# %% wrong: down reads the gelu's input twice -> bottleneck
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return h + self.up(nn.functional.gelu(self.down(h + self.up(self.down(h)))))


# %% wrong: the two layers the wrong way round -> raises
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(width, d), nn.Linear(d, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return h + self.up(nn.functional.gelu(self.down(h)))


# %% wrong: no residual -> residual
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return self.up(nn.functional.gelu(self.down(h)))


# %% wrong: ReLU in place of gelu -> gelu
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return h + self.up(torch.relu(self.down(h)))


# %% wrong: gelu behind the second layer too -> bottleneck
class Adapter(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.down, self.up = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        gelu = nn.functional.gelu
        return h + gelu(self.up(gelu(self.down(h))))
