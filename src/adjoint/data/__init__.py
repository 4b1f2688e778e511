"""Data sets, their files, and the loader that makes batches of them."""

from adjoint.data.collate import collate
from adjoint.data.dataset import Dataset, Subset, TensorDataset
from adjoint.data.digits import load_digits
from adjoint.data.idx import read_idx
from adjoint.data.image import read_image, write_png
from adjoint.data.loader import DataLoader
from adjoint.data.mnist import load_mnist
from adjoint.data.resize import resize_images
from adjoint.data.split import stratified_split

__all__ = [
    "DataLoader",
    "Dataset",
    "Subset",
    "TensorDataset",
    "collate",
    "load_digits",
    "load_mnist",
    "read_idx",
    "read_image",
    "resize_images",
    "stratified_split",
    "write_png",
]
