#include "trellis/trellis.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define KBIT_LANES 16
#include "trellis/search.inc"

kbit::trellis::SearchColumns kbit::trellis::search_avx512() { return &search_here; }
#else
kbit::trellis::SearchColumns kbit::trellis::search_avx512() { return nullptr; }
#endif
