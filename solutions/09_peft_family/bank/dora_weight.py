# %% right: with normalize
def dora_weight(W, A, B, alpha, m):
    V = torch.addmm(W, B, A, alpha=alpha / len(A))
    return nn.functional.normalize(V, dim=1) * m.unsqueeze(1)


# %% right: row by row
def dora_weight(W, A, B, alpha, m):
    rows = []
    for w, b, length in zip(W, B, m):
        v = w + alpha / B.shape[1] * (b @ A)
        rows.append(length * v / v.square().sum().sqrt())
    return torch.stack(rows)


# %% wrong: lengths of columns -> rows
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / len(A) * B @ A
    return m[:, None] * V / V.norm(dim=0, keepdim=True)


# %% wrong: the length of the matrix -> rows
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / len(A) * B @ A
    return m[:, None] * V / V.norm()


# %% wrong: m on the columns -> raises
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / len(A) * B @ A
    return m * V / V.norm(dim=1, keepdim=True)


# %% wrong: divided by the length of W -> of W
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / len(A) * B @ A
    return m[:, None] * V / W.norm(dim=1, keepdim=True)


# %% wrong: only W is given its length -> of W
def dora_weight(W, A, B, alpha, m):
    return m[:, None] * W / W.norm(dim=1, keepdim=True) + alpha / len(A) * B @ A


# %% wrong: the old lengths -> length
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / len(A) * B @ A
    return V * (W.norm(dim=1) / V.norm(dim=1))[:, None]


# %% wrong: not divided by any length -> length
def dora_weight(W, A, B, alpha, m):
    return m[:, None] * (W + alpha / len(A) * B @ A)


# %% wrong: alpha alone -> scale
def dora_weight(W, A, B, alpha, m):
    V = W + alpha * B @ A
    return m[:, None] * V / V.norm(dim=1, keepdim=True)


# %% wrong: r from the wrong side -> scale
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / A.shape[1] * B @ A
    return m[:, None] * V / V.norm(dim=1, keepdim=True)


# %% wrong: subtracts -> direction
def dora_weight(W, A, B, alpha, m):
    V = W - alpha / len(A) * B @ A
    return m[:, None] * V / V.norm(dim=1, keepdim=True)


# %% wrong: the lengths of the rows -> shape
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / len(A) * B @ A
    return m / V.norm(dim=1)


# %% wrong: lengths of the columns -> rows
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / len(A) * B @ A
    return m[:, None] * V / V.norm(dim=0, keepdim=True)


# %% wrong: the length of the whole matrix -> rows
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / len(A) * B @ A
    return m[:, None] * V / V.norm()


# %% wrong: the update is normalised, W is not -> direction
def dora_weight(W, A, B, alpha, m):
    D = alpha / len(A) * B @ A
    V = W + D / D.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return m[:, None] * V / V.norm(dim=1, keepdim=True)


# %% wrong: lengths without their sign -> direction
def dora_weight(W, A, B, alpha, m):
    V = W + alpha / A.shape[0] * (B @ A)
    return (m.abs() / V.norm(dim=1))[:, None] * V


# %% wrong: the update is added to a W of length one -> direction
def dora_weight(W, A, B, alpha, m):
    V = W / W.norm(dim=1, keepdim=True) + alpha / A.shape[0] * (B @ A)
    return (m / V.norm(dim=1))[:, None] * V
