"""Networks: the registry, and the families whose files fill it.

To add a network to a family, write its function there under `@register()`. To add a family, write its file and add one
line to the list below.
"""

from src.models import (  # noqa: F401  importing a family registers its networks
    attention_cnn,
    compact_cnn,
    deep_cnn,
    face_resnet,
    face_vgg,
    mobilevit,
    resnet,
    simple_cnn,
    vit,
)
from src.models.registry import NETWORKS, body_of, create, create_for, family, head_of, native_image_size

__all__ = ["NETWORKS", "body_of", "create", "create_for", "family", "head_of", "native_image_size"]
