# %% right: fit, then transform twice
def count_features(vectoriser, train_texts, test_texts):
    vectoriser.fit(train_texts)
    return tuple(vectoriser.transform(texts) for texts in (train_texts, test_texts))


# %% right: together, after fitting on the training texts
def count_features(vectoriser, train_texts, test_texts):
    known = vectoriser.fit(train_texts)
    X = known.transform(train_texts + test_texts)
    n = len(train_texts)
    return X[:n], X[n:]


# %% wrong: as it was -> leak
def count_features(vectoriser, train_texts, test_texts):
    X = vectoriser.fit_transform(train_texts + test_texts)
    return X[: len(train_texts)], X[len(train_texts) :]


# %% wrong: fitted on everything, transformed apart -> leak
def count_features(vectoriser, train_texts, test_texts):
    vectoriser.fit(test_texts + train_texts)
    return vectoriser.transform(train_texts), vectoriser.transform(test_texts)


# %% wrong: fitted on the test texts -> leak
def count_features(vectoriser, train_texts, test_texts):
    X_test = vectoriser.fit_transform(test_texts)
    return vectoriser.transform(train_texts), X_test


# %% wrong: each part fitted -> twice
def count_features(vectoriser, train_texts, test_texts):
    X = vectoriser.fit_transform(train_texts)
    return X, vectoriser.fit_transform(test_texts)


# %% wrong: never fitted -> old
def count_features(vectoriser, train_texts, test_texts):
    return vectoriser.transform(train_texts), vectoriser.transform(test_texts)


# %% wrong: fitted after the training features were made -> old
def count_features(vectoriser, train_texts, test_texts):
    X = vectoriser.transform(train_texts)
    return X, vectoriser.fit(train_texts).transform(test_texts)


# %% wrong: the test features first -> order
def count_features(vectoriser, train_texts, test_texts):
    X = vectoriser.fit_transform(train_texts)
    return vectoriser.transform(test_texts), X


# %% wrong: only the training features -> raises
def count_features(vectoriser, train_texts, test_texts):
    X = vectoriser.fit_transform(train_texts)
    return X, vectoriser.transform(X)


# %% wrong: the test texts are left out -> features
def count_features(vectoriser, train_texts, test_texts):
    X = vectoriser.fit_transform(train_texts)
    return X, X


# %% wrong: two vectorisers -> twice
def count_features(vectoriser, train_texts, test_texts):
    return vectoriser.fit_transform(train_texts), vectoriser.fit_transform(test_texts)


# %% wrong: only transforms -> old
def count_features(vectoriser, train_texts, test_texts):
    return vectoriser.transform(train_texts), vectoriser.transform(test_texts)


# %% wrong: fits the test set first -> leak
def count_features(vectoriser, train_texts, test_texts):
    vectoriser.fit(test_texts)
    return vectoriser.transform(train_texts), vectoriser.transform(test_texts)


# %% right: fitted on a list, both at once
def count_features(vectoriser, train_texts, test_texts):
    vectoriser.fit(list(train_texts))
    both = vectoriser.transform(list(train_texts) + list(test_texts))
    return both[: len(train_texts)], both[len(train_texts) :]


# %% wrong: without the training texts that are in the test set -> left out
def count_features(vectoriser, train_texts, test_texts):
    test = set(test_texts)
    vectoriser.fit([text for text in train_texts if text not in test])
    return vectoriser.transform(train_texts), vectoriser.transform(test_texts)
