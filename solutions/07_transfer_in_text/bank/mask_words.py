# %% right: as the field's library does it, draw by draw
def mask_words(ids, special, mask_id, vocab, share, generator):
    chance = torch.full(ids.shape, share).masked_fill(special, 0.0)
    chosen = torch.bernoulli(chance, generator=generator).bool()
    labels = ids.clone()
    labels[~chosen] = -100
    inputs = ids.clone()
    tenths = torch.full(ids.shape, 0.8)
    hide = torch.bernoulli(tenths, generator=generator).bool() & chosen
    inputs[hide] = mask_id
    half = torch.full(ids.shape, 0.5)
    swap = torch.bernoulli(half, generator=generator).bool() & chosen & ~hide
    inputs[swap] = torch.randint(vocab, ids.shape, generator=generator)[swap]
    return inputs, labels


# %% right: one draw for everything
def mask_words(ids, special, mask_id, vocab, share, generator):
    u = torch.rand(ids.shape, generator=generator) / share
    u[special] = 9
    inputs, labels = ids.clone(), torch.full_like(ids, -100)
    labels[u < 1] = ids[u < 1]
    inputs[u < 0.8] = mask_id
    swap = (u >= 0.8) & (u < 0.9)
    inputs[swap] = torch.randint(0, vocab, (int(swap.sum()),), generator=generator)
    return inputs, labels


# %% wrong: special pieces are chosen too -> special chosen
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = torch.rand(ids.shape, generator=generator) < share
    how = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), words, inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: every piece has a label -> labels
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    how = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), words, inputs)
    return inputs, ids.clone()


# %% wrong: labels are what stands there now -> labels
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    how = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), words, inputs)
    return inputs, torch.where(chosen, inputs, -100)


# %% wrong: every chosen piece is hidden -> eighty
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    inputs = torch.where(chosen, mask_id, ids)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: changes the pieces that are given -> changed
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    labels = torch.where(chosen, ids, -100)
    how = torch.rand(ids.shape, generator=generator)
    ids[chosen & (how < 0.8)] = mask_id
    return ids, labels


# %% wrong: random pieces where none was chosen -> unasked
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    how = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where((how >= 0.9) & ~special, words, inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: half the share -> share
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share / 2) & ~special
    how = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), words, inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: the same places in every ticket -> together
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape[1], generator=generator) < share) & ~special
    how = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), words, inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: a tenth of what is left becomes random -> ten
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    hide = chosen & (torch.rand(ids.shape, generator=generator) < 0.8)
    swap = chosen & ~hide & (torch.rand(ids.shape, generator=generator) < 0.1)
    words = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(hide, mask_id, ids)
    return torch.where(swap, words, inputs), torch.where(chosen, ids, -100)


# %% wrong: 20 % random, none stays -> ten
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    how = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.8), words, inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: one random piece for all -> one word
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    how = torch.rand(ids.shape, generator=generator)
    word = int(torch.randint(vocab, (1,), generator=generator))
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), word, inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: the generator is not used -> generator
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape) < share) & ~special
    how = torch.rand(ids.shape)
    words = torch.randint(vocab, ids.shape)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), words, inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: only the inputs -> pair
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    return torch.where(chosen, mask_id, ids)


# %% wrong: a fixed number in each ticket -> together
def mask_words(ids, special, mask_id, vocab, share, generator):
    order = torch.rand(ids.shape, generator=generator).masked_fill(special, 9)
    places = order.argsort(1).argsort(1)
    chosen = places < (share * (~special).sum(1, keepdim=True)).round()
    how = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), words, inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: exactly the share of each row -> share
def mask_words(ids, special, mask_id, vocab, share, generator):
    noise = torch.rand(ids.shape, generator=generator).masked_fill(special, 2)
    n = int(share * ids.shape[1])
    chosen = (
        torch.zeros_like(special).scatter(1, noise.argsort(1)[:, :n], True) & ~special
    )
    labels = torch.where(chosen, ids, -100)
    kind = torch.rand(ids.shape, generator=generator)
    inputs = torch.where(chosen & (kind < 0.8), mask_id, ids)
    other = torch.randint(vocab, ids.shape, generator=generator)
    return torch.where(chosen & (kind >= 0.9), other, inputs), labels


# %% wrong: all the rest random, none kept -> ten
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    labels = torch.where(chosen, ids, -100)
    kind = torch.rand(ids.shape, generator=generator)
    inputs = torch.where(chosen & (kind < 0.8), mask_id, ids)
    other = torch.randint(vocab, ids.shape, generator=generator)
    return torch.where(chosen & (kind >= 0.8), other, inputs), labels


# %% wrong: labels only where a mask stands -> unasked
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    kind = torch.rand(ids.shape, generator=generator)
    hidden = chosen & (kind < 0.8)
    inputs = torch.where(hidden, mask_id, ids)
    other = torch.randint(vocab, ids.shape, generator=generator)
    inputs = torch.where(chosen & (kind >= 0.9), other, inputs)
    return inputs, torch.where(hidden, ids, -100)


# %% wrong: random pieces of one half of the vocabulary -> one word
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    how = torch.rand(ids.shape, generator=generator)
    words = torch.randint(vocab // 2, ids.shape, generator=generator)
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), words, inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: random pieces are pieces of the batch -> one word
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    how = torch.rand(ids.shape, generator=generator)
    words = ids.flatten()[torch.randperm(ids.numel(), generator=generator)]
    inputs = torch.where(chosen & (how < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (how >= 0.9), words.view(ids.shape), inputs)
    return inputs, torch.where(chosen, ids, -100)


# %% wrong: the last piece of the vocabulary is never drawn -> vocabulary
def mask_words(ids, special, mask_id, vocab, share, generator):
    chosen = (torch.rand(ids.shape, generator=generator) < share) & ~special
    labels = torch.where(chosen, ids, -100)
    u = torch.rand(ids.shape, generator=generator)
    inputs = torch.where(chosen & (u < 0.8), mask_id, ids)
    swap = chosen & (u >= 0.8) & (u < 0.9)
    words = torch.randint(0, vocab - 1, ids.shape, generator=generator)
    return torch.where(swap, words, inputs), labels
