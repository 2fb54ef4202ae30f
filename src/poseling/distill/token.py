"""Losses between tokens of transformers: visual tokens (B, T, C), one a patch, and keypoint tokens (B, K, C),
one a joint.

ViTPose's knowledge token is not here: it is one more token at the student's input, learned on the frozen
teacher, and the loss that goes with it is `codecs.losses.mse`.
"""

from __future__ import annotations

from torch import Tensor

from poseling.codecs.losses import full


def token_mse(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Mean square between tokens (B, T, C) of the same kind (DistilPose, Ye et al., CVPR 2023). Weights (B,),
    or (B, T) for tokens that weigh differently.

    DistilPose's factor is 5e-4 for the visual tokens and for the keypoint tokens. ValueError if the tokens
    differ in number or length: put an nn.Linear between.

    >>> import torch
    >>> token_mse(torch.zeros(1, 2, 2), torch.tensor([[[2.0, 0.0], [0.0, 0.0]]]), torch.ones(1)).item()
    1.0
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's tokens are {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}: put "
            f"an nn.Linear between"
        )
    squares = (full(student) - full(teacher)).square().mean(-1)
    return (squares * (weight if weight.ndim == 2 else weight[:, None])).mean()


def cycles(tokens: Tensor, weight: Tensor, *, detach: bool = False) -> Tensor:
    """Mean square between the tokens (B, cycles, T, C) of each cycle through a transformer and the next,
    summed (SDPose, Chen et al., CVPR 2024).

    SDPose's factor is 5e-6 for both kinds of tokens. In its code the later cycle gets gradients too; `detach`
    stops them.

    >>> import torch
    >>> cycles(torch.tensor([0.0, 1.0, 3.0]).view(1, 3, 1, 1), torch.ones(1)).item()  # 1 and 4
    5.0
    """
    earlier, later = full(tokens[:, :-1]), full(tokens[:, 1:])
    squares = (earlier - (later.detach() if detach else later)).square().mean(-1)
    weight = weight[:, None, None] if weight.ndim == 1 else weight[:, None]
    return (squares * weight).mean((0, 2)).sum()
