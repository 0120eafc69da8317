// Which instruction sets this processor has, and what of the core runs with each.
#pragma once

#include <string>
#include <vector>

#include "a8_panel_kernel.hpp"
#include "encode/encoder.hpp"
#include "ops.hpp"
#include "panel_kernel.hpp"
#include "row_decoder.hpp"
#include "row_kernel.hpp"

namespace kbit {

// One set of instructions, by the name that KBIT_KERNEL forces it with.
struct Path {
    const char *name;
    const Ops *ops;
    std::vector<const RowKernel *> kernels;  // most preferred first; the general ones, last, take every weight
    const Encoder *encoder;
    const RowDecoder *decoder;  // of whole rows; null where there is none but the general one
    const PanelKernel *panels;  // of products with many rows; null where decoded rows and a dense product serve
    const A8PanelKernel *a8_panels;  // the same with 8-bit activations, or null
};

// Best first; "portable" is always there.
const std::vector<Path> &available_paths();
// `name`, or the environment's KBIT_KERNEL where it is empty, or the best. Throws std::invalid_argument.
const Path &choose_path(const std::string &name);
inline const Ops &choose_ops(const std::string &name) { return *choose_path(name).ops; }

}  // namespace kbit
