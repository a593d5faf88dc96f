"""CosyVoice's vocoder as Step-Audio uses it: tokens to a mel spectrum by flow matching, and the spectrum to sound."""
