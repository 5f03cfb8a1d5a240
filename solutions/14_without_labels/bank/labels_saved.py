# %% right: with interpolation by numpy
def labels_saved(labels, plain, better):
    answers, logs = [], np.log(labels)
    for n, score in zip(labels, better):
        reached = [k for k, value in enumerate(plain) if value >= score]
        if not reached or plain[0] > score:
            answers.append(None)
        elif reached[0] == 0:
            answers.append(labels[0] - n)
        else:
            pair = slice(reached[0] - 1, reached[0] + 1)
            at = np.interp(score, plain[pair], logs[pair])
            answers.append(float(np.exp(at)) - n)
    return answers


# %% right: as powers
def labels_saved(labels, plain, better):
    def needed(score):
        if plain[0] > score:
            return None
        for a, b, p, q in zip(labels, labels[1:], plain, plain[1:]):
            if p <= score <= q:
                return a if p == score else a * (b / a) ** ((score - p) / (q - p))
        return None

    found = [needed(score) for score in better]
    return [None if m is None else m - n for m, n in zip(found, labels)]


# %% wrong: straight over the number -> logarithm
def labels_saved(labels, plain, better):
    answers = []
    for n, score in zip(labels, better):
        reached = [k for k, value in enumerate(plain) if value >= score]
        if not reached or plain[0] > score:
            answers.append(None)
        elif reached[0] == 0:
            answers.append(labels[0] - n)
        else:
            k = reached[0]
            share = (score - plain[k - 1]) / (plain[k] - plain[k - 1])
            answers.append(labels[k - 1] + share * (labels[k] - labels[k - 1]) - n)
    return answers


# %% wrong: the labels needed -> difference
def labels_saved(labels, plain, better):
    answers, logs = [], np.log(labels)
    for score in better:
        reached = [k for k, value in enumerate(plain) if value >= score]
        if not reached or plain[0] > score:
            answers.append(None)
        elif reached[0] == 0:
            answers.append(labels[0])
        else:
            pair = slice(reached[0] - 1, reached[0] + 1)
            answers.append(float(np.exp(np.interp(score, plain[pair], logs[pair]))))
    return answers


# %% wrong: the last crossing -> first
def labels_saved(labels, plain, better):
    answers = []
    for n, score in zip(labels, better):
        needed = labels[0] if plain[0] == score else None
        if plain[0] < score:
            for k in range(1, len(labels)):
                if plain[k - 1] < score <= plain[k]:
                    share = (score - plain[k - 1]) / (plain[k] - plain[k - 1])
                    needed = labels[k - 1] * (labels[k] / labels[k - 1]) ** share
        answers.append(None if needed is None else needed - n)
    return answers


# %% wrong: never reached counts as the last number -> never
def labels_saved(labels, plain, better):
    answers, logs = [], np.log(labels)
    for n, score in zip(labels, better):
        reached = [k for k, value in enumerate(plain) if value >= score]
        if plain[0] > score:
            answers.append(None)
        elif not reached:
            answers.append(labels[-1] - n)
        elif reached[0] == 0:
            answers.append(labels[0] - n)
        else:
            pair = slice(reached[0] - 1, reached[0] + 1)
            answers.append(float(np.exp(np.interp(score, plain[pair], logs[pair]))) - n)
    return answers


# %% wrong: below all counts as the first number -> below
def labels_saved(labels, plain, better):
    answers, logs = [], np.log(labels)
    for n, score in zip(labels, better):
        reached = [k for k, value in enumerate(plain) if value >= score]
        if not reached:
            answers.append(None)
        elif reached[0] == 0:
            answers.append(labels[0] - n)
        else:
            pair = slice(reached[0] - 1, reached[0] + 1)
            answers.append(float(np.exp(np.interp(score, plain[pair], logs[pair]))) - n)
    return answers
