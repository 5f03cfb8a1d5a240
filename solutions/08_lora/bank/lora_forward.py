# %% right: with einsum
def lora_forward(x, W, A, B, alpha):
    low = torch.einsum("...k,rk->...r", x, A)
    update = torch.einsum("...r,dr->...d", low, B)
    return torch.einsum("...k,dk->...d", x, W) + alpha / len(A) * update


# %% right: with linear layers' function
def lora_forward(x, W, A, B, alpha):
    linear = nn.functional.linear
    return linear(x, W) + linear(linear(x, A), B) * (alpha / B.shape[1])


# %% wrong: alpha alone -> scale
def lora_forward(x, W, A, B, alpha):
    return x @ W.T + alpha * (x @ A.T) @ B.T


# %% wrong: rsLoRA's factor -> scale
def lora_forward(x, W, A, B, alpha):
    return x @ W.T + alpha / A.shape[0] ** 0.5 * (x @ A.T) @ B.T


# %% wrong: r from the wrong side of A -> scale
def lora_forward(x, W, A, B, alpha):
    return x @ W.T + alpha / A.shape[1] * (x @ A.T) @ B.T


# %% wrong: only the base -> base only
def lora_forward(x, W, A, B, alpha):
    return x @ W.T


# %% wrong: only the update -> update
def lora_forward(x, W, A, B, alpha):
    return alpha / A.shape[0] * (x @ A.T) @ B.T


# %% wrong: subtracts -> update
def lora_forward(x, W, A, B, alpha):
    return x @ W.T - alpha / A.shape[0] * (x @ A.T) @ B.T


# %% wrong: not transposed -> raises
def lora_forward(x, W, A, B, alpha):
    return x @ W + alpha / A.shape[0] * (x @ A) @ B


# %% wrong: flattens the leading dimensions -> shape
def lora_forward(x, W, A, B, alpha):
    x = x.reshape(-1, x.shape[-1])
    return x @ W.T + alpha / A.shape[0] * (x @ A.T) @ B.T


# %% wrong: the answer to the visible test -> shape
def lora_forward(x, W, A, B, alpha):
    return torch.tensor([[1.0, 5.0]])


# %% wrong: divided by alpha -> update
def lora_forward(x, W, A, B, alpha):
    return x @ W.T + A.shape[0] / alpha * (x @ A.T) @ B.T


# %% wrong: the rank of B's rows -> scale
def lora_forward(x, W, A, B, alpha):
    return x @ W.T + alpha / B.shape[0] * (x @ A.T) @ B.T


# %% wrong: works for two dimensions by t() -> raises
def lora_forward(x, W, A, B, alpha):
    s = alpha / len(A)
    return (W @ x.t() + s * B @ (A @ x.t())).t()


# %% wrong: the product B A is formed -> product
def lora_forward(x, W, A, B, alpha):
    return x @ W.T + x @ (alpha / A.shape[0] * (B @ A)).T


# %% wrong: merged into the weight first -> product
def lora_forward(x, W, A, B, alpha):
    return x @ (W + (alpha / A.shape[0] * B) @ A).T
