//! What the processor is made for.
//!
//! Owns the questions whether 8-bit integers are fast and exact here, and whether bf16 is computed in. Must never know which graph asks.

/// The instructions that multiply 8-bit integers and add the products up in 32 bits, by their makers' name; `None` when the
/// processor has none. Without them, x86 processors add pairs of products up in 16 bits, which can overflow.
pub(crate) fn int8_instructions() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("AVX-512 VNNI", std::is_x86_feature_detected!("avx512vnni") && std::is_x86_feature_detected!("avx512vl")),
        ("AVX-VNNI", std::is_x86_feature_detected!("avxvnni")),
    ];
    #[cfg(target_arch = "aarch64")]
    let known = [
        ("I8MM", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("DotProd", std::arch::is_aarch64_feature_detected!("dotprod")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let known: [(&str, bool); 0] = [];
    known.into_iter().find(|(_, present)| *present).map(|(name, _)| name)
}

/// The instructions that multiply bf16, by their makers' name; `None` when the processor has none.
pub(crate) fn bf16_instructions() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [("AVX512_BF16", std::is_x86_feature_detected!("avx512bf16"))];
    #[cfg(target_arch = "aarch64")]
    let known = [("BF16", std::arch::is_aarch64_feature_detected!("bf16"))];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let known: [(&str, bool); 0] = [];
    known.into_iter().find(|(_, present)| *present).map(|(name, _)| name)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_the_same_instructions() {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = ["avx512_vnni", "avx_vnni", "i8mm", "asimddp"];
        let known = text.split_whitespace().any(|word| flags.contains(&word));
        assert_eq!(int8_instructions().is_some(), known, "{:?}", int8_instructions());
        let known = text.split_whitespace().any(|word| ["avx512_bf16", "bf16"].contains(&word));
        assert_eq!(bf16_instructions().is_some(), known, "{:?}", bf16_instructions());
    }
}
