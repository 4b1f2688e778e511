"""Functions of tensors turned into other functions: grad, vjp, jvp, vmap, Jacobians, Hessians."""
