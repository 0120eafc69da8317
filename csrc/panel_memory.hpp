// Memory that a thread keeps for its next panel, freed when it ends.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace kbit {

class PanelMemory {
  public:
    PanelMemory() = default;
    PanelMemory(const PanelMemory &) = delete;
    PanelMemory &operator=(const PanelMemory &) = delete;
    ~PanelMemory() { std::free(at_); }

    // At least so many bytes, aligned to a page.
    uint8_t *of(int64_t bytes) {
        bytes = (bytes + 4095) / 4096 * 4096;
        if (size_ < bytes) {
            std::free(at_);
            at_ = static_cast<uint8_t *>(std::aligned_alloc(4096, static_cast<size_t>(bytes)));
            if (at_ == nullptr) std::abort();  // on a thread of a loop there is nobody to tell
            size_ = bytes;
        }
        return at_;
    }

  private:
    uint8_t *at_ = nullptr;
    int64_t size_ = 0;
};

}  // namespace kbit
