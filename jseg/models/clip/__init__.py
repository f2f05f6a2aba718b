"""CLIP in pure Jittor: tokenizer, both towers, prompt templates, zero-shot classifier."""

from jseg.models.clip.config import CLIPConfig
from jseg.models.clip.model import CLIP, StoredCLIP, load_clip, read_clip_config
from jseg.models.clip.templates import TEMPLATES, get_templates
from jseg.models.clip.tokenizer import tokenize
from jseg.models.clip.zero_shot import ClassWordError, class_probabilities, text_embeddings

__all__ = [
    "CLIP",
    "TEMPLATES",
    "CLIPConfig",
    "ClassWordError",
    "StoredCLIP",
    "class_probabilities",
    "get_templates",
    "load_clip",
    "read_clip_config",
    "text_embeddings",
    "tokenize",
]
