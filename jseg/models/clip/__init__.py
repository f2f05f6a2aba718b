"""CLIP in pure Jittor: tokenizer, both towers, prompt templates, zero-shot classifier."""

from jseg.models.clip.config import CLIPConfig
from jseg.models.clip.model import CLIP, StoredCLIP, load_clip, read_clip_config
from jseg.models.clip.templates import TEMPLATES
from jseg.models.clip.tokenizer import tokenize
from jseg.models.clip.zero_shot import class_probabilities, text_embeddings

__all__ = [
    "CLIP",
    "TEMPLATES",
    "CLIPConfig",
    "StoredCLIP",
    "class_probabilities",
    "load_clip",
    "read_clip_config",
    "text_embeddings",
    "tokenize",
]
