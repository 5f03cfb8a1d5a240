# %% right: all entries within the tolerance
def same_model(ours, theirs):
    if np.shape(ours) != np.shape(theirs):
        return False
    both = np.stack([ours, theirs])
    if not np.isfinite(both).all():
        return False
    return bool(np.all(np.abs(both[0] - both[1]) <= 1e-4 * max(1, abs(both[0]).max())))


# %% right: with allclose and a tolerance of its own
def same_model(ours, theirs):
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return False
    allowed = 1e-4 * max(1.0, float(np.abs(ours).max()))
    return np.allclose(theirs, ours, rtol=0, atol=allowed)


# %% wrong: as it was -> cancel
def same_model(ours, theirs):
    return abs((ours - theirs).mean()) < 1e-3


# %% wrong: the mean absolute difference -> largest
def same_model(ours, theirs):
    if ours.shape != theirs.shape:
        return False
    allowed = 1e-4 * max(1.0, np.abs(ours).max())
    return bool(np.abs(ours - theirs).mean() <= allowed)


# %% wrong: the largest difference of one sign -> largest
def same_model(ours, theirs):
    if ours.shape != theirs.shape:
        return False
    allowed = 1e-4 * max(1.0, np.abs(ours).max())
    return bool((ours - theirs).max() <= allowed)


# %% wrong: equal answers -> answers
def same_model(ours, theirs):
    return bool((ours.argmax(1) == theirs.argmax(1)).all())


# %% wrong: bit for bit -> strict
def same_model(ours, theirs):
    return np.array_equal(ours, theirs)


# %% wrong: allclose as it comes -> strict
def same_model(ours, theirs):
    return ours.shape == theirs.shape and np.allclose(ours, theirs)


# %% wrong: the same tolerance for all sizes -> large
def same_model(ours, theirs):
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return False
    return bool(np.abs(ours - theirs).max() <= 1e-4)


# %% wrong: relative only -> small
def same_model(ours, theirs):
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return False
    return bool(np.abs(ours - theirs).max() <= 1e-4 * np.abs(ours).max())


# %% wrong: shapes not compared -> shape
def same_model(ours, theirs):
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return False
    allowed = 1e-4 * max(1.0, np.abs(ours).max())
    return bool(np.abs(ours - theirs).max() <= allowed)


# %% wrong: nan passes -> finite
def same_model(ours, theirs):
    if ours.shape != theirs.shape:
        return False
    allowed = 1e-4 * max(1.0, np.abs(ours).max())
    return not bool((np.abs(ours - theirs) > allowed).any())


# %% wrong: infinity makes the tolerance infinite -> finite
def same_model(ours, theirs):
    if ours.shape != theirs.shape:
        return False
    allowed = 1e-4 * max(1.0, np.abs(ours).max())
    return bool(np.abs(ours - theirs).max() <= allowed)


# %% wrong: always the same -> answers
def same_model(ours, theirs):
    return True


# %% wrong: allclose with its own tolerances -> large
def same_model(ours, theirs):
    return ours.shape == theirs.shape and bool(np.allclose(ours, theirs, atol=1e-3))


# %% wrong: the same answers -> answers
def same_model(ours, theirs):
    return ours.shape == theirs.shape and bool(
        (ours.argmax(1) == theirs.argmax(1)).all()
    )


# %% wrong: the mean of the absolute differences -> largest
def same_model(ours, theirs):
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return False
    return bool(abs(ours - theirs).mean() <= 1e-4 * max(1, abs(ours).max()))


# %% wrong: the largest logit, not the largest in size -> large
def same_model(ours, theirs):
    if ours.shape != theirs.shape:
        return False
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return False
    return bool(np.abs(ours - theirs).max() <= 1e-4 * max(1, ours.max()))
