# %% right: with scipy
def judge(score, accuracy):
    from scipy.stats import spearmanr

    known = np.isfinite(score)
    score, tuned = score[known], accuracy.mean(axis=1)[known]
    lost = tuned.max() - tuned[np.argmax(score)]
    return spearmanr(score, tuned).statistic, lost * 100


# %% right: ranks by counting, correlation by hand
def judge(score, accuracy):
    pairs = [(s, sum(a) / len(a)) for s, a in zip(score, accuracy) if s == s]

    def rank(values, v):
        return sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2

    columns = list(zip(*pairs))
    a, b = ([rank(column, v) for v in column] for column in columns)
    middle = (len(a) + 1) / 2
    a, b = ([r - middle for r in column] for column in (a, b))
    above = sum(x * y for x, y in zip(a, b))
    rho = above / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    return [rho, 100 * (max(columns[1]) - max(pairs)[1])]


# %% wrong: correlation of the numbers -> ranks
def judge(score, accuracy):
    known = ~np.isnan(score)
    score, tuned = score[known], accuracy[known].mean(1)
    lost = 100 * (tuned.max() - tuned[score.argmax()])
    return np.corrcoef(score, tuned)[0, 1], lost


# %% wrong: argsort for ranks -> argsort
def judge(score, accuracy):
    known = ~np.isnan(score)
    score, tuned = score[known], accuracy[known].mean(1)
    lost = 100 * (tuned.max() - tuned[score.argmax()])
    return np.corrcoef(score.argsort(), tuned.argsort())[0, 1], lost


# %% wrong: argsort twice, ties in the order of the sources -> ties
def judge(score, accuracy):
    known = ~np.isnan(score)
    score, tuned = score[known], accuracy[known].mean(1)
    lost = 100 * (tuned.max() - tuned[score.argmax()])
    a, b = (v.argsort(kind="stable").argsort() for v in (score, tuned))
    return np.corrcoef(a, b)[0, 1], lost


# %% wrong: no score counts as the lowest -> nan
def judge(score, accuracy):
    from scipy.stats import spearmanr

    score, tuned = np.nan_to_num(score, nan=-1.0), accuracy.mean(1)
    lost = 100 * (tuned.max() - tuned[score.argmax()])
    return spearmanr(score, tuned).statistic, lost


# %% wrong: nan is left in -> nan
def judge(score, accuracy):
    from scipy.stats import spearmanr

    tuned = accuracy.mean(1)
    lost = 100 * (tuned.max() - tuned[score.argmax()])
    return spearmanr(score, tuned).statistic, lost


# %% wrong: the best of all, score or none -> nan
def judge(score, accuracy):
    from scipy.stats import spearmanr

    known, tuned = ~np.isnan(score), accuracy.mean(1)
    lost = 100 * (tuned.max() - tuned[np.nanargmax(score)])
    return spearmanr(score[known], tuned[known]).statistic, lost


# %% wrong: the best seed -> seeds
def judge(score, accuracy):
    from scipy.stats import spearmanr

    known = ~np.isnan(score)
    score, tuned = score[known], accuracy[known].max(1)
    lost = 100 * (tuned.max() - tuned[score.argmax()])
    return spearmanr(score, tuned).statistic, lost


# %% wrong: the first seed -> seeds
def judge(score, accuracy):
    from scipy.stats import spearmanr

    known = ~np.isnan(score)
    score, tuned = score[known], accuracy[known][:, 0]
    lost = 100 * (tuned.max() - tuned[score.argmax()])
    return spearmanr(score, tuned).statistic, lost


# %% wrong: a share, not points -> points
def judge(score, accuracy):
    from scipy.stats import spearmanr

    known = ~np.isnan(score)
    score, tuned = score[known], accuracy[known].mean(1)
    return spearmanr(score, tuned).statistic, tuned.max() - tuned[score.argmax()]


# %% wrong: a negative loss -> sign
def judge(score, accuracy):
    from scipy.stats import spearmanr

    known = ~np.isnan(score)
    score, tuned = score[known], accuracy[known].mean(1)
    lost = 100 * (tuned[score.argmax()] - tuned.max())
    return spearmanr(score, tuned).statistic, lost


# %% wrong: against the mean source -> lost
def judge(score, accuracy):
    from scipy.stats import spearmanr

    known = ~np.isnan(score)
    score, tuned = score[known], accuracy[known].mean(1)
    lost = 100 * (tuned.max() - tuned.mean()) + 0.5
    return spearmanr(score, tuned).statistic, lost


# %% wrong: Kendall's tau -> rho
def judge(score, accuracy):
    from scipy.stats import kendalltau

    known = ~np.isnan(score)
    score, tuned = score[known], accuracy[known].mean(1)
    lost = 100 * (tuned.max() - tuned[score.argmax()])
    return kendalltau(score, tuned).statistic, lost


# %% wrong: points as shares -> points
def judge(score, accuracy):
    from scipy.stats import spearmanr

    keep = ~np.isnan(score)
    mean = accuracy.mean(1)[keep]
    score = score[keep]
    return spearmanr(score, mean)[0], mean.max() - mean[score.argmax()]


# %% wrong: the source without a score is the lowest -> nan
def judge(score, accuracy):
    from scipy.stats import spearmanr

    score = np.where(np.isnan(score), -np.inf, score)
    mean = accuracy.mean(1)
    return spearmanr(score, mean)[0], 100 * (mean.max() - mean[score.argmax()])


# %% wrong: ties by order of appearance -> ties
def judge(score, accuracy):
    keep = ~np.isnan(score)
    mean, score = accuracy.mean(1)[keep], score[keep]
    a, b = (np.argsort(np.argsort(v, kind="stable")) for v in (score, mean))
    return np.corrcoef(a, b)[0, 1], 100 * (mean.max() - mean[score.argmax()])


# %% wrong: the median over the seeds -> seeds
def judge(score, accuracy):
    from scipy.stats import spearmanr

    keep = ~np.isnan(score)
    score, tuned = score[keep], np.median(accuracy[keep], axis=1)
    return spearmanr(score, tuned)[0], 100 * (tuned.max() - tuned[score.argmax()])
