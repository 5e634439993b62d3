#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Makes the files that test_transformer_golden.c compares with: small transformers in PyTorch, in double precision.

usage: make_transformer_golden.py [FOLDER]

Writes for each case NAME_model.safetensors, a model file with the initial weights (docs/format.md), and
NAME_run.safetensors, what comes of it: tokens, outputs, losses, gradients and the losses of a short training run. The
weights are rounded to 32 bits before anything is computed. Needs PyTorch (Debian: python3-torch); the tests do not.
"""
import json
import math
import os
import struct
import sys

import torch

BATCH = 3
LENGTH = 20
TRAINING_STEPS = 10

BASE = dict(length=LENGTH, layers=2, heads=2, head_size=8, feed_forward=32, value_width=8, position_width=8,
            attention="linear", features="elu+1", feature_size=0, norm="post", activation="relu",
            output="logistic-mixture", mixtures=10, dropout=0, seed=0)
CASES = {
    "linear": BASE,
    "softmax": dict(BASE, attention="softmax"),
    "categorical": dict(BASE, norm="pre", activation="gelu", output="categorical"),
}


def write_safetensors(path, tensors, metadata):
    """Floats become F32, bytes U8. F32 come first, so that all data is aligned."""
    header = {"__metadata__": {key: str(value) for key, value in metadata.items()}}
    data = b""
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].dtype == torch.uint8, item[0])):
        is_bytes = tensor.dtype == torch.uint8
        numbers = tensor.detach().flatten().tolist()
        content = bytes(numbers) if is_bytes else struct.pack("<%df" % len(numbers), *numbers)
        header[name] = {"dtype": "U8" if is_bytes else "F32", "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def weight_shapes(config):
    width = config["value_width"] + config["position_width"]
    inner = config["heads"] * config["head_size"]
    outputs = 256 if config["output"] == "categorical" else 3 * config["mixtures"]
    shapes = {"embedding.weight": (256, config["value_width"])}

    def linear(name, size_out, size_in):
        shapes[name + ".weight"] = (size_out, size_in)
        shapes[name + ".bias"] = (size_out,)

    def norm(name):
        shapes[name + ".weight"] = (width,)
        shapes[name + ".bias"] = (width,)

    for layer in range(config["layers"]):
        prefix = "layers.%d." % layer
        for projection in ("query", "key", "value"):
            linear(prefix + "attention." + projection, inner, width)
        linear(prefix + "attention.output", width, inner)
        norm(prefix + "norm1")
        linear(prefix + "feed_forward.up", config["feed_forward"], width)
        linear(prefix + "feed_forward.down", width, config["feed_forward"])
        norm(prefix + "norm2")
    norm("norm")
    linear("output", outputs, width)
    return shapes


def draw_weights(config, generator):
    """Larger than a model would be initialised with: no gradient is to be tiny, no norm and no bias without effect."""

    def uniform(shape, low, high):
        numbers = torch.rand(shape, generator=generator, dtype=torch.float64)
        return (low + (high - low) * numbers).float().double()

    weights = {}
    for name, shape in weight_shapes(config).items():
        if "norm" in name:
            weights[name] = uniform(shape, 0.5, 1.5) if name.endswith("weight") else uniform(shape, -0.5, 0.5)
        elif name == "embedding.weight":
            weights[name] = uniform(shape, -1, 1)
        elif name.endswith("weight"):
            bound = 2 / math.sqrt(shape[1])
            weights[name] = uniform(shape, -bound, bound)
        else:
            weights[name] = uniform(shape, -0.5, 0.5)
    return weights


def positions(length, width):
    encoding = torch.zeros(length, width, dtype=torch.float64)
    for t in range(length):
        for i in range(width // 2):
            angle = t / 10000 ** (2 * i / width)
            encoding[t, 2 * i] = math.sin(angle)
            encoding[t, 2 * i + 1] = math.cos(angle)
    return encoding


def linear(weights, name, x):
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def layer_norm(weights, name, x):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weights[name + ".weight"] + weights[name + ".bias"]


def elu_plus_one(x):
    return torch.where(x > 0, x + 1, torch.exp(x))


def attention(config, weights, name, x):
    """Both kinds as the weighted means that they are, from all pairs of tokens."""
    batch, length, _ = x.shape

    def heads_of(projection):
        y = linear(weights, name + "." + projection, x)
        return y.reshape(batch, length, config["heads"], config["head_size"]).transpose(1, 2)

    query, key, value = heads_of("query"), heads_of("key"), heads_of("value")
    future = torch.ones(length, length).triu(1).bool()
    if config["attention"] == "linear":
        similarity = elu_plus_one(query) @ elu_plus_one(key).transpose(2, 3)
        similarity = similarity.masked_fill(future, 0)
        mean = similarity @ value / (similarity.sum(-1, keepdim=True) + 1e-6)
    else:
        scores = query @ key.transpose(2, 3) / math.sqrt(config["head_size"])
        mean = torch.softmax(scores.masked_fill(future, -math.inf), -1) @ value
    return linear(weights, name + ".output", mean.transpose(1, 2).reshape(batch, length, -1))


def feed_forward(config, weights, name, x):
    x = linear(weights, name + ".up", x)
    if config["activation"] == "relu":
        x = torch.relu(x)
    else:
        x = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
    return linear(weights, name + ".down", x)


def forward(config, weights, tokens):
    """(B, N) tokens to (B, N, O) outputs."""
    batch, length = tokens.shape
    encoding = positions(length, config["position_width"]).expand(batch, -1, -1)
    x = torch.cat([weights["embedding.weight"][tokens], encoding], -1)
    for layer in range(config["layers"]):
        prefix = "layers.%d." % layer
        if config["norm"] == "post":
            x = layer_norm(weights, prefix + "norm1", x + attention(config, weights, prefix + "attention", x))
            x = layer_norm(weights, prefix + "norm2", x + feed_forward(config, weights, prefix + "feed_forward", x))
        else:
            x = x + attention(config, weights, prefix + "attention", layer_norm(weights, prefix + "norm1", x))
            x = x + feed_forward(config, weights, prefix + "feed_forward", layer_norm(weights, prefix + "norm2", x))
    return linear(weights, "output", layer_norm(weights, "norm", x))


def token_losses(config, outputs, targets):
    """(B, N) losses in nats."""
    if config["output"] == "categorical":
        return -torch.log_softmax(outputs, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    logits, means, raw_scales = outputs.chunk(3, -1)
    scales = torch.where(raw_scales > 0, raw_scales, torch.expm1(raw_scales)) + 1.0001
    x = (targets / 127.5 - 1).unsqueeze(-1)
    below = (x + 1 / 255 - means) / scales
    above = (x - 1 / 255 - means) / scales
    mass = torch.sigmoid(below) - torch.sigmoid(above)
    mass = torch.where((targets == 0).unsqueeze(-1), torch.sigmoid(below), mass)
    mass = torch.where((targets == 255).unsqueeze(-1), torch.sigmoid(-above), mass)
    return -torch.log((torch.softmax(logits, -1) * mass).sum(-1))


def make(config, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = draw_weights(config, generator)
    initial = {name: weight.clone() for name, weight in weights.items()}
    tokens = torch.randint(0, 256, (BATCH, LENGTH + 1), generator=generator)
    # Bytes at both ends take the tails of the mixture.
    tokens[0, 3:7] = 0
    tokens[1, 8:12] = 255
    for weight in weights.values():
        weight.requires_grad_()
    optimiser = torch.optim.AdamW(weights.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    run = {"tokens": tokens.to(torch.uint8)}
    training_losses = []
    for step in range(TRAINING_STEPS):
        optimiser.zero_grad()
        outputs = forward(config, weights, tokens[:, :-1])
        losses = token_losses(config, outputs, tokens[:, 1:])
        losses.mean().backward()
        if step == 0:
            run["outputs"], run["losses"] = outputs.detach().clone(), losses.detach().clone()
            run.update({"gradient." + name: weight.grad.clone() for name, weight in weights.items()})
        training_losses.append(losses.mean().item())
        optimiser.step()
    run["training_losses"] = torch.tensor(training_losses, dtype=torch.float64)
    return initial, run


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    for seed, (name, config) in enumerate(CASES.items(), 1):
        weights, run = make(config, seed)
        metadata = dict(config, format="lilac.transformer", format_version=1)
        write_safetensors(os.path.join(folder, name + "_model.safetensors"), weights, metadata)
        write_safetensors(os.path.join(folder, name + "_run.safetensors"), run, {"made_by": os.path.basename(__file__)})
        losses = run["training_losses"].tolist()
        print("%s: loss %.6f, after %d steps %.6f" % (name, losses[0], TRAINING_STEPS - 1, losses[-1]))
        for tensor, numbers in run.items():
            largest = numbers.double().abs().max().item()
            # A bias of the keys moves all scores of a query alike, which softmax does not see.
            zero = config["attention"] == "softmax" and tensor.endswith("key.bias")
            if not torch.isfinite(numbers.double()).all() or (largest < 1e-4) != zero:
                sys.exit("%s: unsuitable numbers in %s" % (name, tensor))


if __name__ == "__main__":
    main()
