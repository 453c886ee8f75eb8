from __future__ import annotations

from kpg.rewards import Bleu, Grammar, bleu_and_grammar
from tests.mutants.subject import close


def test_is_the_weighted_sum() -> None:
    texts, references = ["The cat sat.", "the cat sat on"], ["The cat sat."] * 2
    found = bleu_and_grammar(0.3)(["", ""], texts, references=references)
    (bleu,) = Bleu()([""], texts[1:], references=references[1:])
    (grammar,) = Grammar()([""], texts[1:])
    assert isinstance(bleu, float)
    assert isinstance(grammar, float)
    close(found, [1.0 + 0.3, bleu + 0.3 * grammar])
    assert 0.0 < bleu < 1.0
    assert grammar == 1 / 3
