# %% right: numpy between two points
def data_efficiency(counts, scratch, n, a):
    scratch = np.array(scratch)
    if scratch.max() < a:
        return counts[-1] / n, False
    i = int((scratch >= a).argmax())
    needed = np.exp(np.interp(a, scratch[i - 1 : i + 1], np.log(counts[i - 1 : i + 1])))
    return float(needed) / n, True


# %% right: the library's own function
def data_efficiency(counts, scratch, n, a):
    from course_lib.analysis import statistics

    needed = statistics.labels_needed(counts, scratch, a)
    return (counts[-1] / n, False) if math.isnan(needed) else (needed / n, True)


# %% right: as a power
def data_efficiency(counts, scratch, n, a):
    pairs = list(zip(counts, scratch))
    for (low, below), (high, above) in zip(pairs, pairs[1:]):
        if above >= a:
            return low / n * (high / low) ** ((a - below) / (above - below)), True
    return pairs[-1][0] / n, False


# %% wrong: np.interp over the whole curve -> bound
def data_efficiency(counts, scratch, n, a):
    return float(np.exp(np.interp(a, scratch, np.log(counts)))) / n, True


# %% wrong: infinite where it is not reached -> bound
def data_efficiency(counts, scratch, n, a):
    for i in range(1, len(counts)):
        if scratch[i] >= a:
            share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
            low, high = math.log(counts[i - 1]), math.log(counts[i])
            return math.exp(low + share * (high - low)) / n, True
    return math.inf, False


# %% wrong: None where it is not reached -> bound
def data_efficiency(counts, scratch, n, a):
    for i in range(1, len(counts)):
        if scratch[i] >= a:
            share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
            return counts[i - 1] * (counts[i] / counts[i - 1]) ** share / n, True
    return None, False


# %% wrong: linear in n -> logarithm
def data_efficiency(counts, scratch, n, a):
    for i in range(1, len(counts)):
        if scratch[i] >= a:
            share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
            return (counts[i - 1] + share * (counts[i] - counts[i - 1])) / n, True
    return counts[-1] / n, False


# %% wrong: labels, not their ratio -> divide
def data_efficiency(counts, scratch, n, a):
    for i in range(1, len(counts)):
        if scratch[i] >= a:
            share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
            return counts[i - 1] * (counts[i] / counts[i - 1]) ** share, True
    return counts[-1] / n, False


# %% wrong: upside down -> inverse
def data_efficiency(counts, scratch, n, a):
    for i in range(1, len(counts)):
        if scratch[i] >= a:
            share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
            return n / (counts[i - 1] * (counts[i] / counts[i - 1]) ** share), True
    return counts[-1] / n, False


# %% wrong: the next measured count -> between
def data_efficiency(counts, scratch, n, a):
    for count, accuracy in zip(counts, scratch):
        if accuracy >= a:
            return count / n, True
    return counts[-1] / n, False


# %% wrong: strictly above at the last count -> ratio
def data_efficiency(counts, scratch, n, a):
    for i in range(1, len(counts)):
        if scratch[i] > a:
            share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
            return counts[i - 1] * (counts[i] / counts[i - 1]) ** share / n + 1, True
    return counts[-1] / n, False


# %% wrong: the last crossing of a curve that dips -> first
def data_efficiency(counts, scratch, n, a):
    if max(scratch) < a:
        return counts[-1] / n, False
    i = max(i for i in range(1, len(counts)) if scratch[i] >= a > scratch[i - 1])
    share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
    return counts[i - 1] * (counts[i] / counts[i - 1]) ** share / n, True


# %% wrong: only the ratio -> pair
def data_efficiency(counts, scratch, n, a):
    return float(np.exp(np.interp(a, scratch, np.log(counts)))) / n


# %% wrong: always called a bound -> reached
def data_efficiency(counts, scratch, n, a):
    for i in range(1, len(counts)):
        if scratch[i] >= a:
            share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
            return counts[i - 1] * (counts[i] / counts[i - 1]) ** share / n, False
    return counts[-1] / n, False


# %% wrong: the last crossing of a dipping curve -> first
def data_efficiency(counts, scratch, n, a):
    if max(scratch) < a:
        return counts[-1] / n, False
    for i in range(len(counts) - 1, 0, -1):
        if scratch[i - 1] < a <= scratch[i]:
            share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
            logs = np.log(counts)
            return math.exp(logs[i - 1] + share * (logs[i] - logs[i - 1])) / n, True


# %% wrong: the first measured count that reaches it -> between
def data_efficiency(counts, scratch, n, a):
    for count, accuracy in zip(counts, scratch):
        if accuracy >= a:
            return count / n, True
    return counts[-1] / n, False


# %% wrong: the ratio upside down -> inverse
def data_efficiency(counts, scratch, n, a):
    if max(scratch) < a:
        return n / counts[-1], False
    i = next(i for i, s in enumerate(scratch) if s >= a)
    share = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
    logs = np.log(counts)
    return n / math.exp(logs[i - 1] + share * (logs[i] - logs[i - 1])), True


# %% wrong: np.interp, which wants a rising curve -> first
def data_efficiency(counts, scratch, n, a):
    if a > max(scratch):
        return counts[-1] / n, False
    return float(np.exp(np.interp(a, scratch, np.log(counts)))) / n, True


# %% wrong: whether it is reached is asked of the last point -> first
def data_efficiency(counts, scratch, n, a):
    if a > scratch[-1]:
        return counts[-1] / n, False
    i = next(i for i in range(1, len(counts)) if scratch[i] >= a)
    w = (a - scratch[i - 1]) / (scratch[i] - scratch[i - 1])
    return counts[i - 1] * (counts[i] / counts[i - 1]) ** w / n, True


# %% wrong: from the first point to the crossing -> ratio
def data_efficiency(counts, scratch, n, a):
    for i in range(1, len(counts)):
        if scratch[i] >= a:
            low, high = math.log(counts[0]), math.log(counts[i])
            share = (a - scratch[0]) / (scratch[i] - scratch[0])
            return math.exp(low + share * (high - low)) / n, True
    return counts[-1] / n, False
