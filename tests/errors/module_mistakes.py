"""Mistakes with modules, losses and optimisers: the table of mistakes.py goes on."""

from __future__ import annotations

from tests.errors.mistakes import Mistake

LAYERS = [
    Mistake(
        "linear_features", "linear",
        "layer = nn.Linear(64, 10)\ny = layer(adjoint.ones(32, 128))",
        ("Linear(", "float32[32, 128]", "64", "128"),
    ),
    Mistake(
        "linear_in_a_model", "linear",
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.body = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(5, 2))\n\n"
        "    def forward(self, x):\n        return self.body(x)\n\n"
        "y = Net()(adjoint.ones(3, 8))",
        ("Net.body[2]: Linear(", "float32[3, 4]", "5", "4"),
        at=7,
    ),
    Mistake(
        "linear_double", "linear",
        "layer = nn.Linear(3, 2)\ny = layer(adjoint.tensor(np.ones((4, 3))))",
        ("Linear(", "float64[4, 3]", "float32", ".float()"),
    ),
    Mistake(
        "linear_array", "linear",
        "layer = nn.Linear(3, 2)\ny = layer([[1.0, 2.0, 3.0]])",
        ("Linear(", "list", "adjoint.tensor"),
    ),
    Mistake(
        "conv_channels", "conv2d",
        "layer = nn.Conv2d(1, 6, 5)\ny = layer(adjoint.ones(2, 3, 28, 28))",
        ("Conv2d(", "float32[2, 3, 28, 28]", "1", "3"),
    ),
    Mistake(
        "conv_channels_last", "conv2d",
        "layer = nn.Conv2d(3, 6, 5)\ny = layer(adjoint.ones(2, 28, 28, 3))",
        ("Conv2d(", "float32[2, 28, 28, 3]", "x.movedim(-1, 1)"),
    ),
    Mistake(
        "conv_without_channels", "conv2d",
        "layer = nn.Conv2d(1, 6, 5)\ny = layer(adjoint.ones(28, 28))",
        ("Conv2d(", "float32[28, 28]"),
    ),
    Mistake(
        "kernel_too_large", "conv2d",
        "layer = nn.Conv2d(1, 6, 5)\ny = layer(adjoint.ones(2, 1, 3, 3))",
        ("Conv2d(", "float32[2, 1, 3, 3]", "5"),
    ),
    Mistake(
        "conv_groups", "Conv2d",
        "layer = nn.Conv2d(3, 8, 3, groups=2)",
        ("3", "2"),
    ),
    Mistake(
        "pool_too_large", "max_pool2d",
        "layer = nn.MaxPool2d(4)\ny = layer(adjoint.ones(1, 1, 3, 3))",
        ("MaxPool2d(", "float32[1, 1, 3, 3]", "4"),
    ),
    Mistake(
        "embedding_index", "embedding",
        "table = nn.Embedding(10, 4)\ny = table(adjoint.tensor([1, 10]))",
        ("Embedding(", "10"),
    ),
    Mistake(
        "embedding_floats", "embedding",
        "table = nn.Embedding(10, 4)\ny = table(adjoint.tensor([1.0, 2.0]))",
        ("Embedding(", "float32", ".long()"),
    ),
    Mistake(
        "dropout_percent", "Dropout",
        "layer = nn.Dropout(50)",
        ("50", "0.5"),
    ),
    Mistake(
        "no_super_init", "Net",
        "class Net(nn.Module):\n    def __init__(self):\n        self.head = nn.Linear(3, 2)\n\n"
        "net = Net()",
        ("'head'", "super().__init__()"),
        at=3,
    ),
    Mistake(
        "no_forward", "Net",
        "class Net(nn.Module):\n    pass\n\ny = Net()(adjoint.ones(3))",
        ("forward",),
    ),
    Mistake(
        "parameter_is_a_tensor", "Net",
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.scale = nn.Parameter(adjoint.ones(3))\n\n"
        "net = Net()\nnet.scale = adjoint.zeros(3)",
        ("'scale'", "nn.Parameter"),
    ),
    Mistake(
        "sequential_of_functions", "Sequential",
        "net = nn.Sequential(nn.Linear(3, 2), adjoint.tanh)",
        ("tanh", "nn.Tanh()"),
    ),
    Mistake(
        "state_of_another_model", "load_state_dict",
        "saved = nn.Sequential(nn.Linear(3, 2)).state_dict()\n"
        "net = nn.Sequential(nn.Linear(4, 2))\nnet.load_state_dict(saved)",
        ("0.weight", "(2, 4)", "(2, 3)"),
    ),
    Mistake(
        "state_under_other_names", "load_state_dict",
        "saved = {'fc.weigth': adjoint.ones(2, 3), 'fc.bias': adjoint.ones(2)}\n"
        "net = nn.Module()\nnet.fc = nn.Linear(3, 2)\nnet.load_state_dict(saved)",
        ("fc.weigth", "'fc.weight'"),
    ),
]  # fmt: skip

TRAINING = [
    Mistake(
        "cross_entropy_range", "cross_entropy",
        "scores, labels = adjoint.ones(2, 3), adjoint.tensor([0, 3])\n"
        "loss = nn.CrossEntropyLoss()(scores, labels)",
        ("CrossEntropyLoss(", "3"),
    ),
    Mistake(
        "cross_entropy_float_target", "cross_entropy",
        "scores = adjoint.ones(2, 3)\nlabels = adjoint.tensor([0.0, 1.0])\n"
        "loss = nn.functional.cross_entropy(scores, labels)",
        ("float32", ".long()"),
    ),
    Mistake(
        "cross_entropy_batch", "cross_entropy",
        "scores, labels = adjoint.ones(4, 3), adjoint.arange(3)\n"
        "loss = nn.functional.cross_entropy(scores, labels)",
        ("float32[4, 3]", "int64[3]"),
    ),
    Mistake(
        "loss_broadcasts", "mse_loss",
        "predicted = adjoint.ones(5, 1)\nwanted = adjoint.ones(5)\n"
        "loss = nn.functional.mse_loss(predicted, wanted)",
        ("float32[5, 1]", "float32[5]", "squeeze"),
    ),
    Mistake(
        "probabilities_out_of_range", "binary_cross_entropy",
        "scores = adjoint.tensor([2.0, -1.0])\n"
        "loss = nn.functional.binary_cross_entropy(scores, adjoint.ones(2))",
        ("[0, 1]", "with_logits"),
    ),
    Mistake(
        "reduction_name", "MSELoss reduction",
        "loss = nn.MSELoss(reduction='avg')(adjoint.ones(2), adjoint.ones(2))",
        ("'avg'", "mean"),
    ),
    Mistake(
        "optimizer_without_parameters", "SGD",
        "opt = optim.SGD([], lr=0.1)",
        ("no parameters",),
    ),
    Mistake(
        "optimizer_of_a_module", "SGD",
        "net = nn.Linear(3, 2)\nopt = optim.SGD(net, lr=0.1)",
        ("Linear", ".parameters()"),
    ),
    Mistake(
        "negative_learning_rate", "Adam",
        "net = nn.Linear(3, 2)\nopt = optim.Adam(net.parameters(), lr=-0.1)",
        ("-0.1", "lr"),
    ),
    Mistake(
        "save_not_a_dict", "save",
        "net = nn.Linear(3, 2)\nadjoint.save(net, 'net.safetensors')",
        ("Linear", "state_dict()"),
    ),
    Mistake(
        "missing_package", "read_image",
        "import sys\nfrom adjoint.data import read_image\nsys.modules['PIL'] = None\n"
        "image = read_image('cat.png')",
        ("'pillow'", "pip install 'adjoint[vision]'"),
    ),
    Mistake(
        "batch_size", "DataLoader",
        "from adjoint.data import DataLoader\nloader = DataLoader([1, 2, 3], batch_size=0)",
        ("0", "1"),
    ),
]  # fmt: skip
