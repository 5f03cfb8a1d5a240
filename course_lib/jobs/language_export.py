"""stub"""


def export(result, model, tokenizer, tokens, folder):
    pass
