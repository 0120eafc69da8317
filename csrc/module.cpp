// The Python face of the C++ core. Each concept keeps its own file; this one only binds them.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

NB_MODULE(_core, m) {
    m.doc() = "kbit's C++ core";
}
