//! What went wrong in other node agents and got a number: one file each, with a test that it does not go wrong here.

mod cve_2018_1002105;
mod cve_2019_11245;
mod cve_2019_11253;
mod cve_2020_8559;
mod cve_2021_25735;
mod cve_2021_25740;
mod cve_2021_25743;
mod cve_2022_3294;
