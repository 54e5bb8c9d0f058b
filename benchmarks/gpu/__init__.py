"""GPU kernels: what their machine code says of their speed, and what a GPU says where there is one."""
