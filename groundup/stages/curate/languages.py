"""Language labels: ISO 639-3 and ISO 15924 script, as in GlotLID, FineWeb2 and NLLB, for what py3langid tells apart."""

from __future__ import annotations

from typing import Final

_TABLE: Final = """
af afr_Latn  am amh_Ethi  ar arb_Arab  as asm_Beng  az azj_Latn  be bel_Cyrl  bg bul_Cyrl  bn ben_Beng  br bre_Latn
bs bos_Latn  ca cat_Latn  cs ces_Latn  cy cym_Latn  da dan_Latn  de deu_Latn  el ell_Grek  en eng_Latn  eo epo_Latn
es spa_Latn  et ekk_Latn  eu eus_Latn  fa pes_Arab  fi fin_Latn  fr fra_Latn  fy fry_Latn  ga gle_Latn  gd gla_Latn
gl glg_Latn  gu guj_Gujr  ha hau_Latn  he heb_Hebr  hi hin_Deva  hr hrv_Latn  ht hat_Latn  hu hun_Latn  hy hye_Armn
id ind_Latn  ig ibo_Latn  is isl_Latn  it ita_Latn  ja jpn_Jpan  jv jav_Latn  ka kat_Geor  kk kaz_Cyrl  km khm_Khmr
kn kan_Knda  ko kor_Hang  ku kmr_Latn  ky kir_Cyrl  la lat_Latn  lg lug_Latn  ln lin_Latn  lo lao_Laoo  lt lit_Latn
lv lvs_Latn  mg plt_Latn  mk mkd_Cyrl  ml mal_Mlym  mn khk_Cyrl  mr mar_Deva  ms zsm_Latn  my mya_Mymr  ne npi_Deva
nl nld_Latn  no nob_Latn  om gaz_Latn  or ory_Orya  pa pan_Guru  pl pol_Latn  ps pbt_Arab  pt por_Latn  qu quy_Latn
ro ron_Latn  ru rus_Cyrl  sa san_Deva  si sin_Sinh  sk slk_Latn  sl slv_Latn  so som_Latn  sq als_Latn  sr srp_Cyrl
sv swe_Latn  sw swh_Latn  ta tam_Taml  te tel_Telu  th tha_Thai  tl fil_Latn  tr tur_Latn  ug uig_Arab  uk ukr_Cyrl
ur urd_Arab  uz uzn_Latn  vi vie_Latn  xh xho_Latn  yo yor_Latn  zh cmn_Hani  zu zul_Latn  zxx zxx_Zxxx
ace ace_Latn  bcl bcl_Latn  dz dzo_Tibt  ext ext_Latn  gcf gcf_Latn  gom gom_Deva  grc grc_Grek  gug gug_Latn
hbo hbo_Hebr  kik kik_Latn  nso nso_Latn  pcm pcm_Latn  rw kin_Latn  se sme_Latn  sn sna_Latn  st sot_Latn  an arg_Latn
ary ary_Arab  crh crh_Latn  fo fao_Latn  fuv fuv_Latn  gcr gcr_Latn  guw guw_Latn  kab kab_Latn  lb ltz_Latn
lij lij_Latn  ltg ltg_Latn  uzs uzs_Arab  wa wln_Latn  sdh sdh_Arab  arz arz_Arab  ba bak_Cyrl  mt mlt_Latn
nn nno_Latn  oc oci_Latn  tg tgk_Cyrl  tk tuk_Latn  tt tat_Cyrl  vec vec_Latn  vo vol_Latn  wuu wuu_Hani  yue yue_Hani
"""
_WORDS: Final = _TABLE.split()

LABELS: Final[dict[str, str]] = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
"""py3langid's code to our label, with the script that the language is mostly written in."""
