# %% right: the factor in A
def merged_adapter(adapters, weights):
    A = [w * a / len(A) * A for w, (A, B, a) in zip(weights, adapters)]
    return np.concatenate(A), np.concatenate([B for _, B, _ in adapters], axis=1)


# %% right: the factor in B
def merged_adapter(adapters, weights):
    A = np.vstack([A for A, _, _ in adapters])
    B = [w * a / B.shape[1] * B for w, (_, B, a) in zip(weights, adapters)]
    return A, np.hstack(B)


# %% wrong: the factors are added -> cross
def merged_adapter(adapters, weights):
    if len({len(A) for A, _, _ in adapters}) > 1:
        A = [w * a / len(A) * A for w, (A, B, a) in zip(weights, adapters)]
        return np.vstack(A), np.hstack([B for _, B, _ in adapters])
    A = sum(w * a / len(A) * A for w, (A, B, a) in zip(weights, adapters))
    return A, sum(B for _, B, _ in adapters)


# %% wrong: without the scale -> scale
def merged_adapter(adapters, weights):
    A = np.vstack([w * A for w, (A, _, _) in zip(weights, adapters)])
    return A, np.hstack([B for _, B, _ in adapters])


# %% wrong: alpha not divided by the rank -> scale
def merged_adapter(adapters, weights):
    A = np.vstack([w * a * A for w, (A, _, a) in zip(weights, adapters)])
    return A, np.hstack([B for _, B, _ in adapters])


# %% wrong: divided by the new rank -> scale
def merged_adapter(adapters, weights):
    R = sum(len(A) for A, _, _ in adapters)
    A = np.vstack([w * a / R * A for w, (A, _, a) in zip(weights, adapters)])
    return A, np.hstack([B for _, B, _ in adapters])


# %% wrong: the weight in both -> twice
def merged_adapter(adapters, weights):
    A = [w * a / len(A) * A for w, (A, B, a) in zip(weights, adapters)]
    B = [w * B for w, (_, B, _) in zip(weights, adapters)]
    return np.vstack(A), np.hstack(B)


# %% wrong: without weights -> weight
def merged_adapter(adapters, weights):
    A = np.vstack([a / len(A) * A for A, _, a in adapters])
    return A, np.hstack([B for _, B, _ in adapters])


# %% wrong: the update itself -> pair
def merged_adapter(adapters, weights):
    return sum(w * a / len(A) * B @ A for w, (A, B, a) in zip(weights, adapters))
