# %% right: loops
def picture_scores(P, bank):
    scores, places = [], []
    for picture in P:
        best = (-1.0, None)
        for i, row in enumerate(picture):
            for j, patch in enumerate(row):
                near = min(float(np.sqrt(((patch - m) ** 2).sum())) for m in bank)
                best = max(best, (near, (i, j)))
        scores.append(best[0])
        places.append(best[1])
    return np.array(scores), np.array(places)


# %% right: squared distances by products, divmod
def picture_scores(P, bank):
    N, h, w, F = P.shape
    X = P.reshape(-1, F)
    square = (X**2).sum(1)[:, None] - 2 * X @ bank.T + (bank**2).sum(1)
    far = np.sqrt(np.maximum(square, 0).min(1)).reshape(N, h * w)
    rows, columns = np.divmod(far.argmax(1), w)
    return [far.max(1), np.column_stack([rows, columns])]


# %% wrong: squared distances -> root
def picture_scores(P, bank):
    far = ((P[..., None, :] - bank) ** 2).sum(-1).min(-1)
    flat = far.reshape(len(P), -1)
    places = np.stack(np.unravel_index(flat.argmax(1), far.shape[1:]), 1)
    return flat.max(1), places


# %% wrong: the farthest of the memory -> nearest
def picture_scores(P, bank):
    far = np.linalg.norm(P[..., None, :] - bank, axis=-1).max(-1)
    flat = far.reshape(len(P), -1)
    places = np.stack(np.unravel_index(flat.argmax(1), far.shape[1:]), 1)
    return flat.max(1), places


# %% wrong: mean distance to the memory -> nearest
def picture_scores(P, bank):
    far = np.linalg.norm(P[..., None, :] - bank, axis=-1).mean(-1)
    flat = far.reshape(len(P), -1)
    places = np.stack(np.unravel_index(flat.argmax(1), far.shape[1:]), 1)
    return flat.max(1), places


# %% wrong: the mean over the patches -> strangest
def picture_scores(P, bank):
    far = np.linalg.norm(P[..., None, :] - bank, axis=-1).min(-1)
    flat = far.reshape(len(P), -1)
    places = np.stack(np.unravel_index(flat.argmax(1), far.shape[1:]), 1)
    return flat.mean(1), places


# %% wrong: the least strange patch -> strangest
def picture_scores(P, bank):
    far = np.linalg.norm(P[..., None, :] - bank, axis=-1).min(-1)
    flat = far.reshape(len(P), -1)
    places = np.stack(np.unravel_index(flat.argmin(1), far.shape[1:]), 1)
    return flat.min(1), places


# %% wrong: columns, then rows -> swapped
def picture_scores(P, bank):
    far = np.linalg.norm(P[..., None, :] - bank, axis=-1).min(-1)
    flat = far.reshape(len(P), -1)
    rows, columns = np.unravel_index(flat.argmax(1), far.shape[1:])
    return flat.max(1), np.stack([columns, rows], 1)


# %% wrong: one number a place -> place
def picture_scores(P, bank):
    far = np.linalg.norm(P[..., None, :] - bank, axis=-1).min(-1)
    flat = far.reshape(len(P), -1)
    return flat.max(1), flat.argmax(1)


# %% wrong: places divided by the number of rows -> place
def picture_scores(P, bank):
    far = np.linalg.norm(P[..., None, :] - bank, axis=-1).min(-1)
    flat, h = far.reshape(len(P), -1), far.shape[1]
    at = flat.argmax(1)
    return flat.max(1), np.stack([at // h, at % h], 1)


# %% wrong: scores alone -> pair
def picture_scores(P, bank):
    far = np.linalg.norm(P[..., None, :] - bank, axis=-1).min(-1)
    return far.reshape(len(P), -1).max(1)
