"""An answer to a prompt: the language model itself, trained on the example's own answers alone, with the steps that lead to them
where the rows have some. What verifies the answers has no part in it: `align` learns from that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yanmo.core.data import Example, Row
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.stages.tuning.text import TextTuning
from yanmo.stages.tuning.tuning import WHOLE

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


class PromptsTuning(TextTuning):
    """Prompts to answers that can be verified."""

    def rows(self, task: Any, examples: list[Example], tokenizer: Tokenizer, length: int) -> tuple[list[Row], list[int]]:
        bare = next((example for example in examples if "answer" not in example.fields), None)
        if bare is not None:
            raise DataError(bare.where, None, text("field '{field}' is missing", field=task.fields.answer))
        lengths = [len(task.answered(example, tokenizer, WHOLE).tokens) for example in examples]
        return [task.answered(example, tokenizer, length) for example in examples], lengths
