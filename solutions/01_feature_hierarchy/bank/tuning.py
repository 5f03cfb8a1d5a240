# %% right: cosine and sine
def tuning(r, theta):
    c = torch.cos(2 * theta) @ r
    s = torch.sin(2 * theta) @ r
    size = (c**2 + s**2).sqrt()
    total = r.sum(0).clamp(min=1e-12)
    angle = torch.atan2(s, c) / 2
    angle = torch.where(angle < 0, angle + torch.pi, angle)
    return size / total, torch.where(r.sum(0) > 0, angle, 0.0)


# %% right: unit by unit
def tuning(r, theta):
    import cmath
    import math

    found = []
    for unit in r.T.double().tolist():
        total = sum(unit)
        if total == 0:
            found.append((0.0, 0.0))
            continue
        angles = theta.double().tolist()
        z = sum(x * cmath.exp(2j * t) for x, t in zip(unit, angles))
        found.append((abs(z) / total, cmath.phase(z) / 2 % math.pi))
    osi, angle = zip(*found)
    return torch.tensor(osi), torch.tensor(angle)


# %% wrong: theta once -> double
def tuning(r, theta):
    z = (r * torch.exp(1j * theta)[:, None]).sum(0)
    total = r.sum(0)
    total = torch.where(total > 0, total, torch.ones_like(total))
    return z.abs() / total, z.angle() % torch.pi


# %% wrong: absolute values added -> add first
def tuning(r, theta):
    z = r * torch.exp(2j * theta)[:, None]
    total = r.sum(0)
    total = torch.where(total > 0, total, torch.ones_like(total))
    return z.abs().sum(0) / total, z.sum(0).angle() / 2 % torch.pi


# %% wrong: not a number for silent units -> silent
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    return z.abs() / r.sum(0), z.angle() / 2 % torch.pi


# %% wrong: silent units left out -> units
def tuning(r, theta):
    r = r[:, r.sum(0) > 0]
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    return z.abs() / r.sum(0), z.angle() / 2 % torch.pi


# %% wrong: not halved -> half
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    total = r.sum(0)
    total = torch.where(total > 0, total, torch.ones_like(total))
    return z.abs() / total, z.angle() % (2 * torch.pi)


# %% wrong: negative angles -> range
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    total = r.sum(0)
    total = torch.where(total > 0, total, torch.ones_like(total))
    return z.abs() / total, z.angle() / 2


# %% wrong: the angle of the largest response -> peak
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    total = r.sum(0)
    total = torch.where(total > 0, total, torch.ones_like(total))
    return z.abs() / total, theta[r.argmax(0)] * (r.sum(0) > 0)


# %% wrong: largest minus smallest -> selectivity
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    total = r.sum(0)
    total = torch.where(total > 0, total, torch.ones_like(total))
    high, low = r.amax(0), r.amin(0)
    return (high - low) / (high + low + 1e-12), z.angle() / 2 % torch.pi


# %% wrong: in degrees -> angle
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    total = r.sum(0)
    total = torch.where(total > 0, total, torch.ones_like(total))
    return z.abs() / total, torch.rad2deg(z.angle() / 2 % torch.pi)


# %% wrong: the mean of the vectors, not divided by the responses -> selectivity
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).mean(0)
    return z.abs(), (z.angle() / 2) % torch.pi


# %% wrong: the absolute angle -> angle
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    total = r.sum(0)
    osi = torch.where(total > 0, z.abs() / total.clamp(min=1e-12), 0.0)
    return osi, (z.angle() / 2).abs()


# %% wrong: the angle that was answered most -> peak
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    osi = z.abs() / r.sum(0).clamp(min=1e-12)
    return osi, theta[r.argmax(0)]


# %% wrong: angles of its own, evenly spaced -> selectivity
def tuning(r, theta):
    theta = torch.arange(len(r)) * torch.pi / len(r)
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    total = r.sum(0)
    total = torch.where(total > 0, total, torch.ones_like(total))
    return z.abs() / total, z.angle() / 2 % torch.pi


# %% wrong: arctangent of a quotient, half of the circle -> angle
def tuning(r, theta):
    x = (r * (2 * theta).cos()[:, None]).sum(0)
    y = (r * (2 * theta).sin()[:, None]).sum(0)
    x = torch.where(x == 0, torch.full_like(x, 1e-9), x)
    total = r.sum(0).clamp(min=1e-9)
    silent = r.sum(0) == 0
    osi = torch.where(silent, 0, (x**2 + y**2).sqrt() / total)
    return osi, torch.atan(y / x) / 2 % torch.pi


# %% wrong: mean of the angles, weighted by the responses -> angle
def tuning(r, theta):
    z = (r * torch.exp(2j * theta)[:, None]).sum(0)
    total = r.sum(0).clamp(min=1e-9)
    return z.abs() / total, (r * theta[:, None]).sum(0) / total
