#include "math.hpp"

#if defined(__AVX2__) && defined(__FMA__)
#define KBIT_MATH_NAME "avx2"
#include "math.inc"

const kbit::Math *kbit::math_avx2() { return &kMath; }
#else
const kbit::Math *kbit::math_avx2() { return nullptr; }
#endif
