# %% right: from below, with all that follow
def labels_worth(memory, probe, t):
    def wins(n):
        d = [a - b for a, b in zip(probe[n], memory)]
        middle = sum(d) / len(d)
        variance = sum((x - middle) ** 2 for x in d) / (len(d) - 1)
        return middle > t * (variance / len(d)) ** 0.5

    counts = sorted(probe)
    for i, n in enumerate(counts):
        if all(wins(m) for m in counts[i:]):
            return n


# %% right: the last that does not win
def labels_worth(memory, probe, t):
    counts = np.array(sorted(probe))
    D = np.array([probe[n] for n in counts]) - np.array(memory)
    low = D.mean(1) - t * D.std(1, ddof=1) / np.sqrt(D.shape[1])
    lost = np.flatnonzero(low <= 0)
    after = counts[lost[-1] + 1 :] if len(lost) else counts
    return int(after[0]) if len(after) else None


# %% wrong: the higher mean -> luck
def labels_worth(memory, probe, t):
    answer = None
    for n in sorted(probe, reverse=True):
        if np.mean(probe[n]) <= np.mean(memory):
            break
        answer = n
    return answer


# %% wrong: the first higher mean -> luck
def labels_worth(memory, probe, t):
    for n in sorted(probe):
        if np.mean(probe[n]) > np.mean(memory):
            return n


# %% wrong: not in pairs -> paired
def labels_worth(memory, probe, t):
    answer, S = None, len(memory)
    for n in sorted(probe, reverse=True):
        error = ((np.var(probe[n], ddof=1) + np.var(memory, ddof=1)) / S) ** 0.5
        if np.mean(probe[n]) - np.mean(memory) <= t * error:
            break
        answer = n
    return answer


# %% wrong: the deviation is not divided by the root of S -> deviation
def labels_worth(memory, probe, t):
    answer = None
    for n in sorted(probe, reverse=True):
        d = np.array(probe[n]) - np.array(memory)
        if d.mean() <= t * d.std(ddof=1):
            break
        answer = n
    return answer


# %% wrong: divided by S -> deviation
def labels_worth(memory, probe, t):
    answer = None
    for n in sorted(probe, reverse=True):
        d = np.array(probe[n]) - np.array(memory)
        if d.mean() <= t * d.std() / len(d) ** 0.5:
            break
        answer = n
    return answer


# %% wrong: one standard error -> deviation
def labels_worth(memory, probe, t):
    answer = None
    for n in sorted(probe, reverse=True):
        d = np.array(probe[n]) - np.array(memory)
        if d.mean() <= d.std(ddof=1) / len(d) ** 0.5:
            break
        answer = n
    return answer


# %% wrong: the first win, lost again or not -> lost
def labels_worth(memory, probe, t):
    for n in sorted(probe):
        d = np.array(probe[n]) - np.array(memory)
        if d.mean() > t * d.std(ddof=1) / len(d) ** 0.5:
            return n


# %% wrong: the first win in the order of the dictionary -> order
def labels_worth(memory, probe, t):
    for n, values in probe.items():
        d = np.array(values) - np.array(memory)
        if d.mean() > t * d.std(ddof=1) / len(d) ** 0.5:
            return n


# %% wrong: the largest when none wins -> none
def labels_worth(memory, probe, t):
    answer = max(probe)
    for n in sorted(probe, reverse=True):
        d = np.array(probe[n]) - np.array(memory)
        if d.mean() <= t * d.std(ddof=1) / len(d) ** 0.5:
            break
        answer = n
    return answer
